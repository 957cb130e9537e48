// What the tests include: how they say that something is not so.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

// 1 where something was not so.
extern int t_status;

void complain(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define t_error(...) complain(__FILE_NAME__, __LINE__, __VA_ARGS__)
