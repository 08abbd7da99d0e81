// The client and the pods of the lab where load is the point: under emulation a request costs Node.js ten times as
// much.
//
//   http pod NAME PORT
//     What programs/pod.ts does: says who it is and who asked; after SIGTERM it takes no more connections, ends each
//     with its next answer, and ends when the last is gone.
//   http load ADDRESS PORT PER_SECOND KEPT PAUSE_MS
//     PER_SECOND new connections a second, each for one request, and KEPT connections that ask every PAUSE_MS and are
//     opened again when the pod ends them. Each line of standard input is answered by one JSON line, lab/load.ts has
//     its fields; at the end of the input no more is begun, and what is open is waited for.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lab.h"

enum { MOST = 4096, LIMIT_MS = 10000, SLOW_MS = 1000 };

typedef enum { UNUSED, CONNECTING, ASKED, IDLE } State;

typedef struct {
  State state;
  int kept;
  int requests;
  double began, next;
  char pod[32];
  char text[1024];
  size_t length;
} Connection;

static Connection connections[MOST];
static volatile sig_atomic_t leaving;

static void forget(int fd) {
  close(fd);
  connections[fd].state = UNUSED;
}

// --- pod

static void on_term(int signal_number) {
  (void)signal_number;
  leaving = 1;
}

// Answers every whole request that has come; returns 0 when the connection is over.
static int serve(int fd, const char* name) {
  Connection* c = &connections[fd];
  ssize_t got = read(fd, c->text + c->length, sizeof c->text - 1 - c->length);
  if (got <= 0) return got < 0 && errno == EAGAIN;
  c->length += (size_t)got;
  c->text[c->length] = 0;
  char* end;
  while ((end = strstr(c->text, "\r\n\r\n")) != NULL) {
    const int keep = !leaving && strstr(c->text, "connection: close") == NULL;
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    if (getpeername(fd, (struct sockaddr*)&peer, &size) != 0) return 0;
    char body[128], answer[320];
    const int bytes = snprintf(body, sizeof body, "{\"pod\":\"%s\",\"client\":\"%s\"}", name, inet_ntoa(peer.sin_addr));
    const int all = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: %s\r\n\r\n%s",
                             bytes, keep ? "keep-alive" : "close", body);
    if (write(fd, answer, (size_t)all) != all) return 0;
    if (!keep) shutdown(fd, SHUT_WR);
    c->length -= (size_t)(end + 4 - c->text);
    memmove(c->text, end + 4, c->length + 1);
  }
  return c->length < sizeof c->text - 1;
}

static int pod(const char* name, int port) {
  struct sigaction action = {.sa_handler = on_term};
  sigaction(SIGTERM, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1, open = 0;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (bind(listener, (struct sockaddr*)&address, sizeof address) != 0) die("bind");
  if (listen(listener, 1024) != 0) die("listen");
  watch(listener, EPOLLIN, EPOLL_CTL_ADD);
  puts("ready");
  fflush(stdout);
  while (!leaving || open > 0) {
    struct epoll_event events[256];
    const int count = epoll_wait(epoll_fd, events, 256, listener < 0 ? -1 : 1000);
    for (int i = 0; i < count; i++) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        int client;
        while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
          if (client >= MOST) die("too many connections");
          setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
          connections[client] = (Connection){.state = ASKED};
          watch(client, EPOLLIN, EPOLL_CTL_ADD);
          open++;
        }
      } else if (!serve(fd, name)) {
        forget(fd);
        open--;
      }
    }
    if (leaving && listener >= 0) {
      // Connections that the kernel has taken and we have not would be reset: take them first.
      int client;
      while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        connections[client] = (Connection){.state = ASKED};
        watch(client, EPOLLIN, EPOLL_CTL_ADD);
        open++;
      }
      close(listener);
      listener = -1;
    }
  }
  return 0;
}

// --- load

static struct sockaddr_in target;
static long ok, failed, slow, bytes, begun;
static double slowest, late;
static Named errors[NAMES], lost[NAMES], pods[NAMES], clients[NAMES];
static int pause_ms, open_now, ending;
// When connections that were lost are opened again: not at once, a VIP without pods refuses thousands a second.
static double again[MOST];
static int lost_now;

// The tables are told to people: of more names than a table has room for, the first ones do.
static void add(Named* names, const char* text) { (void)count_in(names, text); }

static void fail(int fd, const char* why) {
  Connection* c = &connections[fd];
  char text[80];
  failed++;
  snprintf(text, sizeof text, "%s connection: %s", c->requests > 0 ? "kept" : "new", why);
  add(errors, text);
  if (c->requests > 0) add(lost, c->pod);
}

static void begin(int kept) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
  if (fd < 0 || fd >= MOST) die("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  connections[fd] = (Connection){.state = CONNECTING, .kept = kept, .began = now_ms()};
  watch(fd, EPOLLOUT, EPOLL_CTL_ADD);
  open_now++;
  if (connect(fd, (struct sockaddr*)&target, sizeof target) != 0 && errno != EINPROGRESS) die("connect");
}

// It is over; a kept one is opened again, after a pause when it was lost.
static void finish(int fd, int was_lost) {
  const int kept = connections[fd].kept;
  forget(fd);
  open_now--;
  if (!kept || ending) return;
  if (was_lost)
    again[lost_now++] = now_ms() + pause_ms;
  else
    begin(1);
}

static void ask(int fd) {
  Connection* c = &connections[fd];
  const char* request = c->kept ? "GET / HTTP/1.1\r\nhost: lab\r\nconnection: keep-alive\r\n\r\n"
                                : "GET / HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n";
  if (c->requests > 0) c->began = now_ms();
  c->state = ASKED;
  c->length = 0;
  watch(fd, EPOLLIN, EPOLL_CTL_MOD);
  if (write(fd, request, strlen(request)) < 0) {
    fail(fd, strerror(errno));
    finish(fd, 1);
  }
}

static void between(const char* text, const char* before, char* into, size_t size) {
  const char* from = strstr(text, before);
  into[0] = 0;
  if (from == NULL) return;
  from += strlen(before);
  snprintf(into, size, "%.*s", (int)strcspn(from, "\""), from);
}

static void answered(int fd) {
  Connection* c = &connections[fd];
  char client[32];
  const double took = now_ms() - c->began;
  between(c->text, "\"pod\":\"", c->pod, sizeof c->pod);
  between(c->text, "\"client\":\"", client, sizeof client);
  ok++;
  bytes += (long)c->length;
  add(pods, c->pod);
  add(clients, client);
  if (took > slowest) slowest = took;
  if (took > SLOW_MS) slow++;
  c->requests++;
  if (c->kept && !ending && strstr(c->text, "connection: keep-alive") != NULL) {
    c->state = IDLE;
    c->next = now_ms() + pause_ms;
  } else {
    finish(fd, 0);
  }
}

static void receive(int fd) {
  Connection* c = &connections[fd];
  const ssize_t got = read(fd, c->text + c->length, sizeof c->text - 1 - c->length);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    fail(fd, got < 0            ? strerror(errno)
             : c->state == IDLE ? "closed while idle"
             : c->length == 0   ? "closed without an answer"
                                : "closed within the answer");
    finish(fd, 1);
    return;
  }
  c->length += (size_t)got;
  c->text[c->length] = 0;
  const char *end = strstr(c->text, "\r\n\r\n"), *size = strstr(c->text, "content-length: ");
  if (end != NULL && size != NULL && c->length >= (size_t)(end + 4 - c->text) + strtoul(size + 16, NULL, 10))
    answered(fd);
}

static void on_event(int fd) {
  if (connections[fd].state == CONNECTING) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0) {
      ask(fd);
    } else {
      fail(fd, strerror(error));
      finish(fd, 1);
    }
  } else if (connections[fd].state != UNUSED) {
    receive(fd);
  }
}

static void report(void) {
  int kept = 0;
  for (int fd = 0; fd < MOST; fd++)
    kept += connections[fd].state != UNUSED && connections[fd].kept && connections[fd].requests > 0;
  printf(
      "{\"begun\":%ld,\"ok\":%ld,\"failed\":%ld,\"slow\":%ld,\"bytes\":%ld,\"slowestMs\":%.0f,\"lateMs\":%.0f,"
      "\"openKept\":%d",
      begun, ok, failed, slow, bytes, slowest, late, kept);
  print_table("errors", errors);
  print_table("lost", lost);
  print_table("pods", pods);
  print_table("clients", clients);
  puts("}");
  fflush(stdout);
}

// Asks again where it is time, and gives up what takes too long.
static void look_after(double now) {
  while (lost_now > 0 && !ending && again[0] <= now) {
    memmove(again, again + 1, (size_t)--lost_now * sizeof *again);
    begin(1);
  }
  for (int fd = 0; fd < MOST; fd++) {
    Connection* c = &connections[fd];
    if (c->state == IDLE && ending)
      finish(fd, 1);
    else if (c->state == IDLE && c->next <= now)
      ask(fd);
    else if ((c->state == CONNECTING || c->state == ASKED) && now - c->began > LIMIT_MS) {
      fail(fd, "timeout");
      finish(fd, 1);
    }
  }
}

static int load(const char* address, int port, double per_second, int kept) {
  target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, address, &target.sin_addr) != 1) die("address");
  signal(SIGPIPE, SIG_IGN);
  watch(STDIN_FILENO, EPOLLIN, EPOLL_CTL_ADD);
  for (int i = 0; i < kept; i++) begin(1);
  const double began = now_ms();
  double looked = 0;
  long sent = 0;
  while (!ending || open_now > 0) {
    struct epoll_event events[256];
    const int count = epoll_wait(epoll_fd, events, 256, 2);
    for (int i = 0; i < count; i++) {
      if (events[i].data.fd != STDIN_FILENO) {
        on_event(events[i].data.fd);
        continue;
      }
      char line[64];
      if (read(STDIN_FILENO, line, sizeof line) > 0) {
        report();
      } else {
        ending = 1;
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
      }
    }
    const double now = now_ms();
    while (!ending && per_second > 0 && began + (double)sent * 1000 / per_second <= now) {
      const double behind = now - (began + (double)sent * 1000 / per_second);
      if (behind > late) late = behind;
      begin(0);
      begun = ++sent;
    }
    if (now - looked >= 10) {
      looked = now;
      look_after(now);
    }
  }
  report();
  return 0;
}

int main(int count, char** words) {
  epoll_fd = epoll_create1(0);
  if (count == 4 && strcmp(words[1], "pod") == 0) return pod(words[2], atoi(words[3]));
  if (count == 7 && strcmp(words[1], "load") == 0) {
    pause_ms = atoi(words[6]);
    return load(words[2], atoi(words[3]), atof(words[4]), atoi(words[5]));
  }
  fputs("http pod NAME PORT | http load ADDRESS PORT PER_SECOND KEPT PAUSE_MS\n", stderr);
  return 2;
}
