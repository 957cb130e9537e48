// Files by `FILE *`, with its buffers.

#include "answers.h"

// Opens a file in this way, writes what can be written, reads what can be read from the beginning on, and says so.
static const char *in_mode(const char *mode) {
  static char read[64];
  holds("m", "old text");
  FILE *file = fopen(at("m"), mode);
  if (!file) return NULL;
  int can_write = fputs("new", file) >= 0 && fflush(file) == 0;
  clearerr(file);
  rewind(file);
  read[0] = can_write ? '+' : '-';
  size_t length = fread(read + 1, 1, sizeof read - 2, file);
  read[1 + length] = 0;
  fclose(file);
  return read;
}

static void modes(void) {
  says("read what is not there", "ENOENT", fopen(at("none"), "r") ? "opened" : NULL);
  says("read and write what is not there", "ENOENT", fopen(at("none"), "r+") ? "opened" : NULL);
  says("r", "-old text", in_mode("r"));
  says("r+", "+new text", in_mode("r+"));
  says("w", "+", in_mode("w"));
  says("w leaves", "new", text_of("m"));
  says("w+", "+new", in_mode("w+"));
  says("a", "+", in_mode("a"));
  says("a leaves", "old textnew", text_of("m"));
  says("a+", "+old textnew", in_mode("a+"));
  says("wx", "EEXIST", in_mode("wx"));
}

static void words(void) {
  FILE *file = fopen(at("w"), "w+");
  is("printed", "15", fprintf(file, "%s %d\n%s %d\n", "one", 1, "three", 23));
  is("where it is", "15", ftell(file));
  rewind(file);
  char word[16];
  int number = 0;
  is("scanned", "2", fscanf(file, "%15s %d", word, &number));
  says("the word", "one", word);
  is("the number", "1", number);
  is("to the second line", "0", fseek(file, 6, SEEK_SET));
  char line[32];
  says("the second line", "three 23\n", fgets(line, sizeof line, file));
  says("no third", NULL, fgets(line, sizeof line, file) ? "one" : "none");
  is("it is at its end", "1", feof(file) != 0);
  is("without an error", "0", ferror(file));
  is("from the end", "0", fseek(file, -3, SEEK_END));
  is("a letter", "50", fgetc(file));
  is("put back", "50", ungetc('2', file));
  is("and there again", "50", fgetc(file));
  is("write from here on", "0", fseek(file, 0, SEEK_CUR));
  is("over it", "1", fputs("4\n", file) >= 0);
  is("close it", "0", fclose(file));
  says("what it has now", "one 1\nthree 24\n", text_of("w"));
}

static void buffers(void) {
  static char text[100000], back[100001];
  memset(text, 'x', sizeof text);
  text[77777] = 'y';
  FILE *file = fopen(at("b"), "w");
  is("much of it", "100000", (long long)fwrite(text, 1, sizeof text, file));
  is("close it", "0", fclose(file));
  file = fopen(at("b"), "r");
  is("all of it again", "100000", (long long)fread(back, 1, sizeof back, file));
  is("as it was", "0", memcmp(text, back, sizeof text));
  fclose(file);
  file = fopen(at("u"), "w");
  setvbuf(file, NULL, _IONBF, 0);
  fputs("at once", file);
  says("without a buffer", "at once", text_of("u"));
  fclose(file);
  file = fopen(at("r"), "r");
  says("of another name", "ENOENT", file ? "opened" : NULL);
  is("renamed by its own function", "0", rename(at("u"), at("r")));
  file = freopen(at("r"), "r", fopen(at("b"), "r"));
  says("reopened", "at once", fgets(back, sizeof back, file));
  fclose(file);
}

void stdio(void) {
  modes();
  words();
  buffers();
}
