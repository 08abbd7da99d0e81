// A client of echo.c that keeps its sockets: who answers on each of them now, and who later?
//
//   kept PROTOCOL ADDRESS PORT COUNT LIMIT_MS
//     COUNT sockets of tcp or udp, each from a port of its own. Says `open` by a line when all are connected. Each line
//     of standard input is a question on each of them at the same time, answered by one JSON line when the last one is
//     answered or after LIMIT_MS: [{"port":LOCAL_PORT,"pod":"NAME"},{"port":LOCAL_PORT,"error":"ECONNRESET"},…]
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 512 };

static int sockets[MOST], ports[MOST], count, limit_ms;
static const char* question;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void die(const char* what) {
  perror(what);
  exit(1);
}

static int open_one(const char* text, int port, int type, int* local_port) {
  struct sockaddr_storage target = {0};
  struct sockaddr_in* v4 = (struct sockaddr_in*)&target;
  struct sockaddr_in6* v6 = (struct sockaddr_in6*)&target;
  socklen_t size = sizeof *v4;
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
  } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
    size = sizeof *v6;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
  } else {
    die(text);
  }
  const int fd = socket(target.ss_family, type, 0);
  if (fd < 0) die("socket");
  const struct timeval limit = {.tv_sec = limit_ms / 1000, .tv_usec = limit_ms % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(fd, (struct sockaddr*)&target, size) != 0) die("connect");
  struct sockaddr_storage local;
  socklen_t local_size = sizeof local;
  if (getsockname(fd, (struct sockaddr*)&local, &local_size) != 0) die("getsockname");
  // The port is at the same place in both families.
  *local_port = ntohs(((struct sockaddr_in*)&local)->sin_port);
  return fd;
}

// Who answered, up to `deadline`; errno tells why nobody did.
static int answer(int fd, double deadline, char* pod, size_t size) {
  char line[160];
  size_t length = 0;
  while (length == 0 || line[length - 1] != '\n') {
    const double left = deadline - now_ms();
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    if (poll(&waiting, 1, left > 0 ? (int)left + 1 : 0) == 0) {
      errno = ETIMEDOUT;
      return 0;
    }
    const ssize_t got = recv(fd, line + length, sizeof line - length, MSG_DONTWAIT);
    if (got == 0) errno = ECONNABORTED;
    if (got <= 0) return 0;
    length += (size_t)got;
    if (length == sizeof line) {
      errno = EMSGSIZE;
      return 0;
    }
  }
  snprintf(pod, size, "%.*s", (int)strcspn(line, " \n"), line);
  return 1;
}

static void ask_all(void) {
  int sent[MOST], why[MOST];
  for (int i = 0; i < count; i++) {
    // An answer that came too late is not one to this question.
    char late[160];
    while (recv(sockets[i], late, sizeof late, MSG_DONTWAIT) > 0) continue;
    sent[i] = send(sockets[i], question, strlen(question), MSG_NOSIGNAL) >= 0;
    why[i] = errno;
  }
  const double deadline = now_ms() + limit_ms;
  for (int i = 0; i < count; i++) {
    char pod[64];
    const int ok = sent[i] && answer(sockets[i], deadline, pod, sizeof pod);
    if (sent[i]) why[i] = errno;
    printf("%s{\"port\":%d,\"%s\":\"%s\"}", i == 0 ? "[" : ",", ports[i], ok ? "pod" : "error",
           ok ? pod : strerrorname_np(why[i]));
  }
  puts("]");
  fflush(stdout);
}

int main(int words_count, char** words) {
  if (words_count != 6 || atoi(words[4]) < 1 || atoi(words[4]) > MOST) {
    fputs("kept PROTOCOL ADDRESS PORT COUNT LIMIT_MS\n", stderr);
    return 2;
  }
  const int is_tcp = strcmp(words[1], "tcp") == 0;
  question = is_tcp ? "0 0 keep\n" : "ask 0 ";
  limit_ms = atoi(words[5]);
  for (int wanted = atoi(words[4]); count < wanted; count++)
    sockets[count] = open_one(words[2], atoi(words[3]), is_tcp ? SOCK_STREAM : SOCK_DGRAM, &ports[count]);
  puts("open");
  fflush(stdout);
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) ask_all();
  return 0;
}
