// What the lab's programs have in common: one clock, one epoll, tables of names that are counted.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

enum { NAMES = 64 };

typedef struct {
  char name[96];
  long count;
} Named;

static int epoll_fd;

static inline double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static inline void die(const char* what) {
  perror(what);
  exit(1);
}

static inline void watch(int fd, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(epoll_fd, operation, fd, &event) != 0) die("epoll_ctl");
}

// Counts `text` in a table of NAMES; 0 when that is full of others.
static inline int count_in(Named* names, const char* text) {
  for (int i = 0; i < NAMES; i++) {
    if (names[i].count == 0) snprintf(names[i].name, sizeof names[i].name, "%s", text);
    if (strcmp(names[i].name, text) == 0) {
      names[i].count++;
      return 1;
    }
  }
  return 0;
}

// A member of a JSON object, and not the first.
static inline void print_table(const char* title, const Named* names) {
  printf(",\"%s\":{", title);
  for (int i = 0; i < NAMES && names[i].count > 0; i++)
    printf("%s\"%s\":%ld", i == 0 ? "" : ",", names[i].name, names[i].count);
  printf("}");
}
