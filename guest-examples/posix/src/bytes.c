// What is in a file: where it is read and written, how long it is, and when that was.

#include "answers.h"

static void places(void) {
  char text[16] = {0};
  int file = open(at("a"), O_RDWR | O_CREAT | O_TRUNC, 0666);
  is("written", "10", write(file, "0123456789", 10));
  is("where it is", "10", lseek(file, 0, SEEK_CUR));
  is("back by three", "7", lseek(file, -3, SEEK_CUR));
  is("read to the end", "3", read(file, text, 16));
  is("read at the end", "0", read(file, text, 16));
  is("three before the end", "7", lseek(file, -3, SEEK_END));
  is("before the beginning", "EINVAL", lseek(file, -1, SEEK_SET));
  is("it is where it was", "7", lseek(file, 0, SEEK_CUR));
  is("written in the middle", "2", write(file, "ab", 2));
  is("read at a place", "4", pread(file, text, 4, 5));
  is("that does not move it", "9", lseek(file, 0, SEEK_CUR));
  is("written at a place", "2", pwrite(file, "xy", 2, 1));
  is("nor does that", "9", lseek(file, 0, SEEK_CUR));
  is("beyond the end", "12", lseek(file, 12, SEEK_SET));
  is("nothing is read there", "0", read(file, text, 16));
  is("written there", "1", write(file, "!", 1));
  is("nothing is written", "0", write(file, "", 0));
  is("read the hole", "3", pread(file, text, 3, 9));
  says("what was before it", "9", text);
  is("the hole is zeros", "0", text[1] + text[2]);
  is("nothing from nowhere", "0", pread(file, text, 4, 1000));
  is("before the beginning of it", "EINVAL", pread(file, text, 4, -1));
  close(file);
  says("all of it", "0xy3456ab9", text_of("a"));
}

static void ends(void) {
  char text[16] = {0};
  holds("b", "one");
  int file = open(at("b"), O_RDWR | O_APPEND), other = open(at("b"), O_WRONLY | O_APPEND);
  is("to the beginning", "0", lseek(file, 0, SEEK_SET));
  is("appended all the same", "4", write(file, " two", 4));
  is("it is at the end now", "7", lseek(file, 0, SEEK_CUR));
  is("appended by another", "6", write(other, " three", 6));
  is("and again", "5", write(file, " four", 5));
  is("read from the beginning", "3", (lseek(file, 0, SEEK_SET), read(file, text, 3)));
  says("what was there", "one", text);
  close(file), close(other);
  says("one after the other", "one two three four", text_of("b"));
}

static void lengths(void) {
  struct stat found;
  holds("c", "0123456789");
  int file = open(at("c"), O_RDWR);
  is("longer by nothing", "0", ftruncate(file, 10));
  is("shorter", "0", ftruncate(file, 4));
  is("longer", "0", ftruncate(file, 6));
  is("negative", "EINVAL", ftruncate(file, -1));
  is("where it is", "0", lseek(file, 0, SEEK_CUR));
  is("stat", "0", fstat(file, &found));
  is("how long it is", "6", found.st_size);
  is("it is a file", "1", S_ISREG(found.st_mode));
  is("it has one name", "1", (long long)found.st_nlink);
  is("sync", "0", fsync(file));
  is("sync of data", "0", fdatasync(file));
  close(file);
  is("by its name", "0", truncate(at("c"), 2));
  says("what is left", "01", text_of("c"));
  is("truncate what is not there", "ENOENT", truncate(at("none"), 2));
  is("truncate a folder", "EISDIR", (mkdir(at("f"), 0777), truncate(at("f"), 0)));
}

static void goes_on(void) {
  char text[16] = {0};
  holds("d", "text");
  int file = open(at("d"), O_RDWR);
  is("delete it", "0", unlink(at("d")));
  is("it is gone", "ENOENT", opens("d", O_RDONLY));
  is("read it all the same", "4", read(file, text, 16));
  is("write to it", "4", write(file, "more", 4));
  struct stat found;
  is("stat", "0", fstat(file, &found));
  is("how long it is", "8", found.st_size);
  is("it has no name", "0", (long long)found.st_nlink);
  close(file);
}

static void times(void) {
  struct stat found;
  struct timespec set[2] = {{1000, 5000}, {2000, 7000}};
  holds("t", "text");
  is("set", "0", utimensat(AT_FDCWD, at("t"), set, 0));
  is("stat", "0", stat(at("t"), &found));
  is("read then", "1000", found.st_atim.tv_sec);
  is("changed then", "2000", found.st_mtim.tv_sec);
  is("to the nanosecond", "7000", found.st_mtim.tv_nsec);
  struct timespec one[2] = {{0, UTIME_OMIT}, {3000, 0}};
  is("set one", "0", utimensat(AT_FDCWD, at("t"), one, 0));
  stat(at("t"), &found);
  is("the other is as it was", "1000", found.st_atim.tv_sec);
  is("that one is not", "3000", found.st_mtim.tv_sec);
  int file = open(at("t"), O_WRONLY);
  struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
  is("set to now", "0", futimens(file, now));
  fstat(file, &found);
  is("that is later", "1", found.st_mtim.tv_sec > 1000000000);
  close(file);
  holds("old", "");
  utimensat(AT_FDCWD, at("old"), set, 0);
  holds("old", "new");
  stat(at("old"), &found);
  is("what is written is new", "1", found.st_mtim.tv_sec > 1000000000);
  is("of what is not there", "ENOENT", utimensat(AT_FDCWD, at("none"), set, 0));
}

void bytes(void) {
  places();
  ends();
  lengths();
  goes_on();
  times();
}
