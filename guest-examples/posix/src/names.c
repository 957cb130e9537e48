// Names of files: they are deleted, given to others, and there may be two of them.

#include "answers.h"

static void deleted(void) {
  holds("a", "a");
  mkdir(at("f"), 0777);
  is("delete what is not there", "ENOENT", unlink(at("none")));
  is("delete a folder as a file", "EISDIR", unlink(at("f")));
  is("delete a file with a slash", "ENOTDIR", unlink(at("a/")));
  is("delete through a file", "ENOTDIR", unlink(at("a/b")));
  is("delete it", "0", unlink(at("a")));
  is("delete it twice", "ENOENT", unlink(at("a")));
  holds("a", "a");
  is("delete it by remove", "0", remove(at("a")));
  is("delete a folder by remove", "0", remove(at("f")));
  is("delete a folder by its other name", "0", (mkdir(at("f"), 0777), unlinkat(AT_FDCWD, at("f"), AT_REMOVEDIR)));
}

static void renamed(void) {
  holds("a", "a");
  holds("b", "b");
  is("rename what is not there", "ENOENT", rename(at("none"), at("c")));
  is("rename to where nothing is", "ENOENT", rename(at("a"), at("none/a")));
  is("rename with a slash", "ENOTDIR", rename(at("a/"), at("c")));
  is("rename to a slash", "ENOTDIR", rename(at("a"), at("c/")));
  is("rename to itself", "0", rename(at("a"), at("a")));
  is("rename over another", "0", rename(at("a"), at("b")));
  says("it has what was renamed", "a", text_of("b"));
  is("the old name is gone", "ENOENT", opens("a", O_RDONLY));
  is("rename through a file", "ENOTDIR", rename(at("b"), at("b/c")));
}

static void renamed_folders(void) {
  mkdir(at("f"), 0777), mkdir(at("f/in"), 0777), mkdir(at("g"), 0777), mkdir(at("h"), 0777);
  holds("f/x", "x");
  holds("h/y", "y");
  holds("b", "b");
  is("a folder over a file", "ENOTDIR", rename(at("f"), at("b")));
  is("a file over a folder", "EISDIR", rename(at("b"), at("g")));
  is("a folder over one that is not empty", "ENOTEMPTY", rename(at("f"), at("h")));
  is("a folder into itself", "EINVAL", rename(at("f"), at("f/in/f")));
  is("a folder over an empty one", "0", rename(at("f"), at("g")));
  says("it has what was in it", "in/ x", names_in("g"));
  is("a folder with slashes", "0", rename(at("g/"), at("f/")));
  is("the folder that one is in", "EBUSY", rename(at("f/."), at("g")));
  is("what is above", "EBUSY", rename(at("f/.."), at("g")));
  says("it is still there", "x", text_of("f/x"));
}

static void second_names(void) {
  struct stat one, other;
  holds("l", "l");
  is("a second name", "0", link(at("l"), at("m")));
  stat(at("l"), &one), stat(at("m"), &other);
  is("both are one file", "1", one.st_ino == other.st_ino);
  is("it has two", "2", (long long)one.st_nlink);
  stat(at("b"), &other);
  is("another file is another", "0", one.st_ino == other.st_ino);
  is("a name that is taken", "EEXIST", link(at("l"), at("b")));
  is("of what is not there", "ENOENT", link(at("none"), at("n")));
  is("of a folder", "EPERM", link(at("f"), at("n")));
  is("with a slash", "ENOENT", link(at("l"), at("n/")));
  is("of a file with a slash", "ENOTDIR", link(at("l/"), at("n")));
  is("one over the other", "0", rename(at("l"), at("m")));
  is("both are still there", "0", opens("l", O_RDONLY));
  unlink(at("l"));
  says("the other stays", "l", text_of("m"));
}

void names(void) {
  deleted();
  renamed();
  renamed_folders();
  second_names();
}
