// Runs the tests. Each was a program, whose `main` has become a function of its own name.

#include "test.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests.h"

typedef struct {
  char *text;
  size_t length;
} Line;

typedef struct {
  Line *lines;
  size_t count;
} Lines;

#define DECLARE(name) int test_##name(void);
#define DECLARE_WITH(name) int test_##name(int, char **);
WITHOUT_ARGUMENTS(DECLARE)
WITH_FOLDER(DECLARE_WITH)

int t_status;
static Lines answer;

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)old_size;
  if (size == 0) return (void *)align;
  void *new = realloc(old, size);
  if (!new) abort();
  return new;
}

static void add(char *text) {
  answer.lines = realloc(answer.lines, (answer.count + 1) * sizeof *answer.lines);
  answer.lines[answer.count++] = (Line){text, strlen(text)};
}

void complain(const char *file, int line, const char *format, ...) {
  char *what, *text;
  va_list values;
  va_start(values, format);
  if (vasprintf(&what, format, values) < 0) abort();
  va_end(values);
  what[strcspn(what, "\n")] = 0;
  if (asprintf(&text, "%s:%d: %s", file, line, what) < 0) abort();
  add(text);
  t_status = 1;
}

__attribute__((export_name("names"))) Lines *all_names(void) {
#define ADD(name) add(strdup(#name));
  WITHOUT_ARGUMENTS(ADD)
  WITH_FOLDER(ADD)
  return &answer;
}

__attribute__((export_name("run"))) Lines *run_named(char *name, size_t length) {
  static char *arguments[] = {"test", "/", NULL};
  int status = -1;
#define RUN(it) \
  if (length == strlen(#it) && memcmp(name, #it, length) == 0) status = test_##it();
#define RUN_WITH(it) \
  if (length == strlen(#it) && memcmp(name, #it, length) == 0) status = test_##it(2, arguments);
  WITHOUT_ARGUMENTS(RUN)
  WITH_FOLDER(RUN_WITH)
  if (status < 0) add(strdup("there is no such test"));
  if (status > 0 && answer.count == 0) add(strdup("it failed, and does not say of what"));
  return &answer;
}
