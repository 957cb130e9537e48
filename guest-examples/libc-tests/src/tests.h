// The tests that are about files, by the names of their files: those without arguments, and those with the folder.
#define WITHOUT_ARGUMENTS(DO) \
  DO(access) DO(append) DO(chdir) DO(close) DO(fadvise) DO(fallocate) DO(fcntl) DO(fdatasync) DO(fdopen) DO(feof) \
  DO(file_nonblocking) DO(file_permissions) DO(fseek) DO(fstat) DO(fsync) DO(ftruncate) DO(fts) DO(fwscanf) DO(ioctl) \
  DO(isatty) DO(link) DO(lseek) DO(poll) DO(preadvwritev) DO(preadwrite) DO(readlink) DO(readv) DO(rename) DO(rewinddir) \
  DO(rmdir) DO(scandir) DO(seekdir) DO(stat) DO(stdio) DO(utime) DO(write)

#define WITH_FOLDER(DO) DO(open_relative_path) DO(opendir)
