// What the parts of the trial have in common.
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

// Notes what came of a call: its number, or the name of its error. `wanted` is what POSIX promises, or what Linux does where
// POSIX leaves the choice; without it the answer is only noted.
void is(const char *what, const char *wanted, long long result);

// The same for a text; without one, for the error.
void says(const char *what, const char *wanted, const char *text);

// The path of a name in the folder of this part. It holds for the next few calls.
const char *at(const char *name);

// Opens a file and closes it: 0, or -1 with the error.
int opens(const char *name, int flags);

// Makes a file of this text.
void holds(const char *name, const char *text);

// The text of a file; nothing where it cannot be read.
const char *text_of(const char *name);

// The names in a folder in the order of the alphabet, with a letter for the kind of each; nothing where it cannot be read.
const char *names_in(const char *name);

// The parts.
void opening(void);
void bytes(void);
void names(void);
void folders(void);
void stdio(void);
void links(void);
