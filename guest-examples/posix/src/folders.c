// Folders: they are made, read, and deleted.

#include "answers.h"

static void made(void) {
  is("make one", "0", mkdir(at("f"), 0777));
  is("make it twice", "EEXIST", mkdir(at("f"), 0777));
  is("with a slash", "0", mkdir(at("g/"), 0777));
  is("with a slash twice", "EEXIST", mkdir(at("g/"), 0777));
  is("in one that is not there", "ENOENT", mkdir(at("none/f"), 0777));
  holds("a", "a");
  is("where a file is", "EEXIST", mkdir(at("a"), 0777));
  is("in a file", "ENOTDIR", mkdir(at("a/f"), 0777));
  is("where one is in", "EEXIST", mkdir(at("f/."), 0777));
  is("one that all have", "EEXIST", mkdir(at("f/.."), 0777));
  struct stat found;
  is("stat", "0", stat(at("f"), &found));
  is("it is a folder", "1", S_ISDIR(found.st_mode));
  is("stat with a slash", "0", stat(at("f/"), &found));
  is("stat of a file with a slash", "ENOTDIR", stat(at("a/"), &found));
  is("stat through a file", "ENOTDIR", stat(at("a/b"), &found));
}

static void deleted(void) {
  holds("f/x", "x");
  is("delete one that is not empty", "ENOTEMPTY", rmdir(at("f")));
  is("delete a file as a folder", "ENOTDIR", rmdir(at("a")));
  is("delete what is not there", "ENOENT", rmdir(at("none")));
  is("delete where one is", "EINVAL", rmdir(at("f/.")));
  is("delete what is above", NULL, rmdir(at("f/..")));
  unlink(at("f/x"));
  int held = open(at("f"), O_RDONLY | O_DIRECTORY);
  is("delete one that is open", "0", rmdir(at("f/")));
  is("make a file in it", "ENOENT", openat(held, "x", O_WRONLY | O_CREAT, 0666));
  close(held);
  is("delete it twice", "ENOENT", rmdir(at("f")));
}

static void read_through(void) {
  mkdir(at("h"), 0777), mkdir(at("h/in"), 0777);
  holds("h/x", "x");
  holds("h/y", "");
  says("what is in it", "in/ x y", names_in("h"));
  says("what is in what is not there", "ENOENT", names_in("none"));
  says("what is in a file", "ENOTDIR", names_in("a"));
  DIR *dir = opendir(at("h"));
  int first = 0, again = 0;
  while (readdir(dir)) first++;
  rewinddir(dir);
  while (readdir(dir)) again++;
  is("from the beginning again", "1", first == again && first >= 3);
  is("close it", "0", closedir(dir));
}

// Whatever was there from the beginning to the end comes once.
static void many(void) {
  enum { COUNT = 400 };
  static unsigned char seen[COUNT];
  char name[32];
  mkdir(at("many"), 0777);
  for (int i = 0; i < COUNT; i++) {
    snprintf(name, sizeof name, "many/file%d", i);
    holds(name, "");
  }
  DIR *dir = opendir(at("many"));
  struct dirent *entry;
  int odd = 0, failed = 0;
  while ((entry = readdir(dir))) {
    int number = -1;
    if (sscanf(entry->d_name, "file%d", &number) != 1) continue;
    seen[number]++;
    snprintf(name, sizeof name, "many/file%d", number);
    failed += unlink(at(name)) != 0;
  }
  closedir(dir);
  for (int i = 0; i < COUNT; i++) odd += seen[i] != 1;
  is("not seen once, while they are deleted", "0", odd);
  is("not deleted", "0", failed);
  is("nothing is left", "0", rmdir(at("many")));
}

static void at_work(void) {
  mkdir(at("w"), 0777), mkdir(at("w/in"), 0777);
  holds("w/in/x", "x");
  is("go there", "0", chdir(at("w")));
  is("a path from there", "0", close(open("in/x", O_RDONLY)));
  is("go on", "0", chdir("in"));
  is("a path from there, too", "0", close(open("x", O_RDONLY)));
  is("go to what is not there", "ENOENT", chdir("none"));
  is("go to a file", "ENOTDIR", chdir("x"));
  is("go back", "0", chdir(at("")));
}

void folders(void) {
  made();
  deleted();
  read_through();
  many();
  at_work();
}
