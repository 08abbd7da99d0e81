// TCP connections that are held open and used now and then: what a router or a director that goes away does to them.
//
//   flows pod NAME PORT
//     Says `ready` by a line. Answers every line on a connection by its name.
//   flows hold ADDRESS PORT COUNT PAUSE_MS
//     Opens COUNT connections, of which each asks, has its answer, and asks again PAUSE_MS after its question. One that
//     is lost stays lost. Each line of standard input is answered by one JSON line (lab/bgp/flows.ts has its fields);
//     it ends with its input.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4096, PODS = 16 };

typedef enum { UNUSED, CONNECTING, IDLE, ASKED } State;

typedef struct {
  State state;
  double asked, next;
  char line[64];
  size_t length;
} Flow;

typedef struct {
  char name[64];
  long count;
} Pod;

static Flow flows[MOST];
static Pod pods[PODS];
static long opened, answered, reset, closed_by_pod, other;
static double longest;
static int epoll_fd;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void die(const char* what) {
  perror(what);
  exit(1);
}

static void watch(int fd, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(epoll_fd, operation, fd, &event) != 0) die("epoll_ctl");
}

// --- pod

static _Noreturn void pod(const char* name, int port) {
  const int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1, no = 0;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  const struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  if (bind(listener, (const struct sockaddr*)&address, sizeof address) != 0) die("bind");
  if (listen(listener, 4096) != 0) die("listen");
  watch(listener, EPOLLIN, EPOLL_CTL_ADD);
  char answer[64];
  const int size = snprintf(answer, sizeof answer, "%s\n", name);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[256];
    const int count = epoll_wait(epoll_fd, events, 256, -1);
    for (int i = 0; i < count; i++) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        for (int client; (client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
          setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
          watch(client, EPOLLIN, EPOLL_CTL_ADD);
        }
        continue;
      }
      char asked[256];
      const ssize_t got = read(fd, asked, sizeof asked);
      int over = got <= 0 && !(got < 0 && errno == EAGAIN);
      for (ssize_t at = 0; at < got && !over; at++)
        if (asked[at] == '\n') over = send(fd, answer, (size_t)size, MSG_NOSIGNAL) != size;
      if (over) close(fd);
    }
  }
}

// --- hold

static void lose(int fd, int error) {
  if (error == ECONNRESET || error == EPIPE || error == ECONNREFUSED)
    reset++;
  else if (error == 0)
    closed_by_pod++;
  else
    other++;
  close(fd);
  flows[fd].state = UNUSED;
}

static void ask(int fd, double now) {
  Flow* f = &flows[fd];
  f->state = ASKED;
  f->asked = now;
  f->length = 0;
  if (send(fd, "?\n", 2, MSG_NOSIGNAL) != 2) lose(fd, errno);
}

static void take_answer(int fd, double now, double pause) {
  Flow* f = &flows[fd];
  const ssize_t got = read(fd, f->line + f->length, sizeof f->line - 1 - f->length);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    lose(fd, got < 0 ? errno : 0);
    return;
  }
  f->length += (size_t)got;
  f->line[f->length] = 0;
  char* end = strchr(f->line, '\n');
  if (end == NULL || f->state != ASKED) return;
  *end = 0;
  for (int i = 0; i < PODS; i++) {
    if (pods[i].count == 0) snprintf(pods[i].name, sizeof pods[i].name, "%s", f->line);
    if (strcmp(pods[i].name, f->line) != 0) continue;
    pods[i].count++;
    break;
  }
  answered++;
  if (now - f->asked > longest) longest = now - f->asked;
  f->state = IDLE;
  f->next = f->asked + pause;
}

static void report(double now) {
  int open = 0, waiting = 0;
  for (int fd = 0; fd < MOST; fd++) {
    const Flow* f = &flows[fd];
    open += f->state == IDLE || f->state == ASKED;
    if (f->state != ASKED) continue;
    if (now - f->asked > longest) longest = now - f->asked;
    waiting += now - f->asked > 1000;
  }
  printf("{\"opened\":%ld,\"open\":%d,\"answered\":%ld,\"reset\":%ld,\"closed\":%ld,\"other\":%ld,\"waiting\":%d,",
         opened, open, answered, reset, closed_by_pod, other, waiting);
  printf("\"longestMs\":%.0f,\"pods\":{", longest);
  for (int i = 0; i < PODS && pods[i].count > 0; i++)
    printf("%s\"%s\":%ld", i == 0 ? "" : ",", pods[i].name, pods[i].count);
  puts("}}");
  fflush(stdout);
  longest = 0;
}

static socklen_t parse(const char* address, int port, struct sockaddr_storage* target) {
  struct sockaddr_in* v4 = (struct sockaddr_in*)target;
  struct sockaddr_in6* v6 = (struct sockaddr_in6*)target;
  if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    return sizeof *v4;
  }
  if (inet_pton(AF_INET6, address, &v6->sin6_addr) != 1) die("address");
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons((uint16_t)port);
  return sizeof *v6;
}

static void begin(const struct sockaddr_storage* target, socklen_t size) {
  const int fd = socket(target->ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
  if (fd < 0 || fd >= MOST) die("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  flows[fd] = (Flow){.state = CONNECTING, .asked = now_ms()};
  watch(fd, EPOLLOUT, EPOLL_CTL_ADD);
  if (connect(fd, (const struct sockaddr*)target, size) != 0 && errno != EINPROGRESS) die("connect");
}

static void on_event(int fd, double pause) {
  Flow* f = &flows[fd];
  if (f->state == CONNECTING) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      lose(fd, error);
      return;
    }
    opened++;
    watch(fd, EPOLLIN, EPOLL_CTL_MOD);
    ask(fd, now_ms());
  } else if (f->state != UNUSED) {
    take_answer(fd, now_ms(), pause);
  }
}

static int hold(const char* address, int port, int count, double pause) {
  struct sockaddr_storage target = {0};
  const socklen_t size = parse(address, port, &target);
  watch(STDIN_FILENO, EPOLLIN, EPOLL_CTL_ADD);
  // Not all at once: they would ask in step for ever.
  const double began = now_ms();
  for (int begun = 0;;) {
    for (; begun < count && began + pause * begun / count <= now_ms(); begun++) begin(&target, size);
    struct epoll_event events[256];
    const int ready = epoll_wait(epoll_fd, events, 256, 2);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.fd != STDIN_FILENO) {
        on_event(events[i].data.fd, pause);
        continue;
      }
      char line[64];
      if (read(STDIN_FILENO, line, sizeof line) <= 0) return 0;
      report(now_ms());
    }
    const double now = now_ms();
    for (int fd = 0; fd < MOST; fd++)
      if (flows[fd].state == IDLE && flows[fd].next <= now) ask(fd, now);
  }
}

int main(int count, char** words) {
  epoll_fd = epoll_create1(0);
  signal(SIGPIPE, SIG_IGN);
  if (count == 4 && strcmp(words[1], "pod") == 0) pod(words[2], atoi(words[3]));
  if (count == 6 && strcmp(words[1], "hold") == 0)
    return hold(words[2], atoi(words[3]), atoi(words[4]), atof(words[5]));
  fputs("flows pod NAME PORT | flows hold ADDRESS PORT COUNT PAUSE_MS\n", stderr);
  return 2;
}
