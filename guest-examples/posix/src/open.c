// How a file is opened, and what is no file.

#include "answers.h"

static void flags(void) {
  is("a file that is not there", "ENOENT", opens("a", O_RDONLY));
  is("make a file", "0", opens("a", O_WRONLY | O_CREAT));
  is("make it again", "0", opens("a", O_WRONLY | O_CREAT));
  is("make it anew", "EEXIST", opens("a", O_WRONLY | O_CREAT | O_EXCL));
  holds("a", "text");
  is("read it as a folder", "ENOTDIR", opens("a", O_RDONLY | O_DIRECTORY));
  is("append", "0", opens("a", O_WRONLY | O_APPEND));
  says("nothing is lost by being opened", "text", text_of("a"));
  is("empty it", "0", opens("a", O_WRONLY | O_TRUNC));
  says("it is empty", "", text_of("a"));
  holds("a", "text");
  is("empty what is opened to read", "0", opens("a", O_RDONLY | O_TRUNC));
  says("it is empty, too", "", text_of("a"));
  is("do not follow", "0", opens("a", O_RDONLY | O_NOFOLLOW));
}

static void not_files(void) {
  mkdir(at("f"), 0777);
  is("a folder", "0", opens("f", O_RDONLY));
  is("a folder as such", "0", opens("f", O_RDONLY | O_DIRECTORY));
  is("a folder with a slash", "0", opens("f/", O_RDONLY | O_DIRECTORY));
  is("a folder to write", "EISDIR", opens("f", O_WRONLY));
  is("a folder to read and write", "EISDIR", opens("f", O_RDWR));
  is("a folder to be emptied", "EISDIR", opens("f", O_RDONLY | O_TRUNC));
  is("a folder to be made", "EISDIR", opens("f", O_RDONLY | O_CREAT));
  is("a folder to be made anew", "EEXIST", opens("f", O_RDONLY | O_CREAT | O_EXCL));
  is("make a folder by opening it", "EINVAL", opens("g", O_RDONLY | O_CREAT | O_DIRECTORY));
  int folder = open(at("f"), O_RDONLY | O_DIRECTORY);
  char byte;
  is("read a folder", "EISDIR", read(folder, &byte, 1));
  is("a file in it", "0", close(openat(folder, "in", O_WRONLY | O_CREAT, 0666)));
  is("above it, which WASI does not allow", "EPERM", openat(folder, "../a", O_RDONLY));
  is("close it", "0", close(folder));
  is("close it twice", "EBADF", close(folder));
}

static void paths(void) {
  holds("a", "text");
  is("through a file", "ENOTDIR", opens("a/b", O_RDONLY));
  is("a file with a slash", "ENOTDIR", opens("a/", O_RDONLY));
  is("a new file with a slash", "EISDIR", opens("new/", O_WRONLY | O_CREAT));
  is("in a folder that is not there", "ENOENT", opens("none/a", O_WRONLY | O_CREAT));
  is("no path at all", "ENOENT", open("", O_RDONLY));
  is("two slashes and a dot", "0", opens(".//f/.././a", O_RDONLY));
  is("up through what is not there", "ENOENT", opens("none/../a", O_RDONLY));
  is("up through a file", "ENOTDIR", opens("a/../a", O_RDONLY));
  char name[257];
  memset(name, 'n', 256);
  name[256] = 0;
  is("a name of 256 bytes", "ENAMETOOLONG", opens(name, O_WRONLY | O_CREAT));
  name[255] = 0;
  is("a name of 255 bytes", "0", opens(name, O_WRONLY | O_CREAT));
  is("it is deleted", "0", unlink(at(name)));
  holds("a b\n\\*\xc3\xa4", "odd");
  says("an odd name", "odd", text_of("a b\n\\*\xc3\xa4"));
  is("out of all folders", NULL, opens("../../../x", O_RDONLY));
  is("which one may not write either", NULL, opens("../../../x", O_WRONLY | O_CREAT));
}

static void rights(void) {
  char byte = 'x';
  holds("r", "text");
  int reads = open(at("r"), O_RDONLY), writes = open(at("r"), O_WRONLY);
  is("write to what is read", "EBADF", write(reads, &byte, 1));
  is("read from what is written", "EBADF", read(writes, &byte, 1));
  is("truncate what is read", "EINVAL", ftruncate(reads, 0));
  is("truncate what is written", "0", ftruncate(writes, 2));
  close(reads), close(writes);
  is("access to what is there", "0", access(at("r"), F_OK | R_OK | W_OK));
  is("access to what is not", "ENOENT", access(at("none"), F_OK));
}

// What has been written is on the disk when the call comes back.
static void written_through(void) {
  is("written through", "0", opens("s", O_WRONLY | O_CREAT | O_SYNC));
  is("its data written through", "0", opens("s", O_WRONLY | O_DSYNC));
}

void opening(void) {
  flags();
  not_files();
  paths();
  rights();
  written_through();
}
