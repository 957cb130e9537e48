// What the tool returns, and the parts one after the other.

#include "answers.h"

typedef struct {
  char *text;
  size_t length;
} Line;

typedef struct {
  Line *lines;
  size_t count;
} Lines;

static Lines answers;
static const char *part;
static char folder[1024];

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)old_size;
  if (size == 0) return (void *)align;
  void *new = realloc(old, size);
  if (!new) abort();
  return new;
}

static const char *error_name(int error) {
  static const struct {
    int error;
    const char *name;
  } known[] = {
      {EACCES, "EACCES"},       {EBADF, "EBADF"},     {EBUSY, "EBUSY"},     {EEXIST, "EEXIST"},   {EFBIG, "EFBIG"},
      {EINVAL, "EINVAL"},       {EIO, "EIO"},         {EISDIR, "EISDIR"},   {ELOOP, "ELOOP"},     {EMLINK, "EMLINK"},
      {ENAMETOOLONG, "ENAMETOOLONG"}, {ENOENT, "ENOENT"}, {ENOTDIR, "ENOTDIR"}, {ENOTEMPTY, "ENOTEMPTY"},
      {ENOTSUP, "ENOTSUP"},     {EPERM, "EPERM"},     {EXDEV, "EXDEV"},     {EILSEQ, "EILSEQ"},   {ENOMEM, "ENOMEM"},
      {ENOTCAPABLE, "ENOTCAPABLE"}, {ENOSYS, "ENOSYS"}, {ESPIPE, "ESPIPE"},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (known[i].error == error) return known[i].name;
  }
  static char number[32];
  snprintf(number, sizeof number, "error %d", error);
  return number;
}

static void note(const char *what, const char *wanted, const char *answer) {
  Lines *all = &answers;
  all->lines = realloc(all->lines, (all->count + 1) * sizeof *all->lines);
  Line *line = &all->lines[all->count++];
  int is_so = !wanted || strcmp(wanted, answer) == 0;
  int length = is_so ? asprintf(&line->text, "%s: %s: %s", part, what, answer)
                     : asprintf(&line->text, "%s: %s: %s, and not %s", part, what, answer, wanted);
  if (length < 0) abort();
  line->length = (size_t)length;
}

void is(const char *what, const char *wanted, long long result) {
  char number[32];
  int error = errno;
  snprintf(number, sizeof number, "%lld", result);
  note(what, wanted, result < 0 ? error_name(error) : number);
}

void says(const char *what, const char *wanted, const char *text) {
  int error = errno;
  note(what, wanted, text ? text : error_name(error));
}

const char *at(const char *name) {
  static char paths[4][2048];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s/%s", folder, part, name);
  return path;
}

int opens(const char *name, int flags) {
  int file = open(at(name), flags, 0666);
  if (file < 0) return -1;
  return close(file);
}

void holds(const char *name, const char *text) {
  int file = open(at(name), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file < 0 || write(file, text, strlen(text)) != (ssize_t)strlen(text) || close(file) != 0) {
    is("a file is made", "0", -1);
  }
}

const char *text_of(const char *name) {
  static char text[256];
  int file = open(at(name), O_RDONLY);
  if (file < 0) return NULL;
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  if (length < 0) return NULL;
  text[length] = 0;
  return text;
}

static int by_name(const void *one, const void *other) { return strcmp(*(char *const *)one, *(char *const *)other); }

const char *names_in(const char *name) {
  static char all[2048];
  char *found[64];
  size_t count = 0;
  DIR *dir = opendir(at(name));
  if (!dir) return NULL;
  struct dirent *entry;
  while ((entry = readdir(dir)) && count < 64) {
    // They need not be there.
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    const char *kind = entry->d_type == DT_DIR ? "/" : entry->d_type == DT_LNK ? "@" : entry->d_type == DT_REG ? "" : "?";
    if (asprintf(&found[count++], "%s%s", entry->d_name, kind) < 0) abort();
  }
  closedir(dir);
  qsort(found, count, sizeof *found, by_name);
  all[0] = 0;
  for (size_t i = 0; i < count; i++) {
    if (i > 0) strcat(all, " ");
    strncat(all, found[i], sizeof all - strlen(all) - 2);
    free(found[i]);
  }
  return all;
}

static void in_folder(const char *path, size_t length) {
  snprintf(folder, sizeof folder, "%.*s", (int)length, path);
}

// Each part has a folder of its own.
static void try(const char *name, void (*parts)(void)) {
  part = name;
  mkdir(at(""), 0777);
  parts();
}

__attribute__((export_name("trial"))) Lines *trial(char *path, size_t length) {
  in_folder(path, length);
  try("open", opening);
  try("bytes", bytes);
  try("names", names);
  try("folders", folders);
  try("stdio", stdio);
  try("links", links);
  return &answers;
}

__attribute__((export_name("refused"))) Lines *refused(char *path, size_t length) {
  in_folder(path, length);
  part = ".";
  is("it is read", "0", opens("a", O_RDONLY));
  is("it is listed", "0", opens("f", O_RDONLY | O_DIRECTORY));
  is("make a file", "EPERM", opens("b", O_WRONLY | O_CREAT));
  is("open it to write", "EPERM", opens("a", O_WRONLY));
  is("open it to read and write", "EPERM", opens("a", O_RDWR));
  is("open it to append", "EPERM", opens("a", O_WRONLY | O_APPEND));
  is("empty it as it is opened", "EPERM", opens("a", O_RDONLY | O_TRUNC));
  is("truncate", "EPERM", truncate(at("a"), 1));
  is("unlink", "EPERM", unlink(at("a")));
  is("mkdir", "EPERM", mkdir(at("g"), 0777));
  is("rmdir", "EPERM", rmdir(at("f")));
  is("rename", "EPERM", rename(at("a"), at("b")));
  is("link", "EPERM", link(at("a"), at("b")));
  is("symlink", "EPERM", symlink("a", at("b")));
  struct timespec times[2] = {{1, 0}, {2, 0}};
  is("set its times", "EPERM", utimensat(AT_FDCWD, at("a"), times, 0));
  is("a file that is not there", "ENOENT", opens("none", O_RDONLY));
  is("delete what is not there", "ENOENT", unlink(at("none")));
  is("access to read", "0", access(at("a"), R_OK));
  is("outside", NULL, opens("../../a", O_RDONLY));
  is("what no folder has", NULL, open("/nowhere/a", O_RDONLY));
  says("it is as it was", "text", text_of("a"));
  return &answers;
}
