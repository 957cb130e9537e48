// Symbolic links, which the host has put there: `to-file` to `target`, `to-folder` to `folder` with a file `x`, `dangling` to
// `new`, `round` to itself, and `out` to a file outside.

#include "answers.h"

static const char *target(const char *name) {
  static char text[128];
  ssize_t length = readlink(at(name), text, sizeof text - 1);
  if (length < 0) return NULL;
  text[length] = 0;
  return text;
}

static const char *kind(const char *name, int flags) {
  struct stat found;
  if (fstatat(AT_FDCWD, at(name), &found, flags) != 0) return NULL;
  return S_ISLNK(found.st_mode) ? "link" : S_ISDIR(found.st_mode) ? "folder" : S_ISREG(found.st_mode) ? "file" : "other";
}

static void followed(void) {
  says("where it leads", "target", target("to-file"));
  says("where a file leads", "EINVAL", target("target"));
  says("where nothing leads", "ENOENT", target("none"));
  says("read through it", "inside", text_of("to-file"));
  says("read through a folder", "x", text_of("to-folder/x"));
  says("what is in that", "x", names_in("to-folder"));
  says("its own kind", "link", kind("to-file", AT_SYMLINK_NOFOLLOW));
  says("what it leads to", "file", kind("to-file", 0));
  says("a folder's own kind", "link", kind("to-folder", AT_SYMLINK_NOFOLLOW));
  says("with a slash it is the folder", "folder", kind("to-folder/", AT_SYMLINK_NOFOLLOW));
  is("do not follow", "ELOOP", opens("to-file", O_RDONLY | O_NOFOLLOW));
  is("with a slash", "ENOTDIR", opens("to-file/", O_RDONLY));
  is("a folder with a slash", "0", opens("to-folder/", O_RDONLY | O_DIRECTORY));
  is("round and round", "ELOOP", opens("round", O_RDONLY));
  says("round, by itself", "link", kind("round", AT_SYMLINK_NOFOLLOW));
  says("up from where it leads", "inside", text_of("to-folder/../target"));
}

static void made_and_deleted(void) {
  is("what it leads to is not there", "ENOENT", opens("dangling", O_RDONLY));
  is("make it anew", "EEXIST", opens("dangling", O_WRONLY | O_CREAT | O_EXCL));
  is("a folder there", "EEXIST", mkdir(at("dangling"), 0777));
  is("a second name there", "EEXIST", link(at("target"), at("dangling")));
  is("make it", "0", opens("dangling", O_WRONLY | O_CREAT));
  says("it was made where it leads", "file", kind("new", 0));
  is("delete it as a folder", "ENOTDIR", rmdir(at("to-folder")));
  is("delete it as a folder, with a slash", "ENOTDIR", rmdir(at("to-folder/")));
  is("delete it with a slash", "ENOTDIR", unlink(at("to-folder/")));
  is("a file over it", "0", (holds("over", "over"), rename(at("over"), at("to-file"))));
  says("what it led to is as it was", "inside", text_of("target"));
  says("it is a file now", "file", kind("to-file", AT_SYMLINK_NOFOLLOW));
  is("delete it", "0", unlink(at("to-folder")));
  says("what it led to stays", "x", text_of("folder/x"));
  is("rename it", "0", rename(at("round"), at("again")));
  is("make one", "0", symlink("target", at("made")));
}

static void outside(void) {
  is("read through it", "EPERM", opens("out", O_RDONLY));
  is("write through it", "EPERM", opens("out", O_WRONLY));
  is("stat through it", "EPERM", kind("out", 0) ? 0 : -1);
  says("its own kind", "link", kind("out", AT_SYMLINK_NOFOLLOW));
  is("delete it", "0", unlink(at("out")));
}

void links(void) {
  followed();
  made_and_deleted();
  outside();
}
