// The ends of the connection benches: so little work of its own that what lies between the ends is what costs.
//
//   connections serve PORT
//     Takes TCP connections on any address and closes them; counts UDP datagrams on the same port.
//   connections connect SOURCE SOURCES FIRST_VIP VIPS FIRST_PORT PORTS IN_FLIGHT
//     New TCP connections, IN_FLIGHT at a time, each to a VIP and port chosen at random and reset when it is
//     established: a reset leaves no TIME_WAIT behind (RFC 9293 3.6), which would use up the ports. Sources are an
//     address and a port in turn, so that a tuple comes again only after SOURCES x 60,000 connections.
//   connections send SOURCE FLOWS FIRST_VIP VIPS FIRST_PORT PORTS SIZE
//     UDP datagrams of SIZE bytes, as fast as they go out, over FLOWS sockets.
// Each says `ready`, then answers lines: the two clients take a number of milliseconds and say what came of them, the
// server says what it has counted. All end with their input.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  MOST_IN_FLIGHT = 1024,
  MOST_FLOWS = 256,
  BATCH = 32,
  FIRST_SOURCE_PORT = 2000,
  SOURCE_PORTS = 60000,
  PATIENCE_MS = 3000
};

static int epoll_fd;

static void die(const char* what) {
  perror(what);
  exit(1);
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void watch(int fd, uint32_t events, void* data) {
  struct epoll_event event = {.events = events, .data.ptr = data};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
}

// Client and server on a processor each where there are two: the scheduler would put them together now and then, and
// two figures of one series would differ by that.
static void pin(int last) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    if (last) CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (!last) break;
  }
  if (sched_setaffinity(0, sizeof one, &one) != 0) die("sched_setaffinity");
}

static uint32_t first_of(const char* text) {
  struct in_addr address;
  if (inet_pton(AF_INET, text, &address) != 1) die(text);
  return ntohl(address.s_addr);
}

static struct sockaddr_in socket_address(uint32_t address, uint32_t port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(address)};
}

// --- targets

static uint32_t first_vip, vips, first_port, ports;
static uint64_t random_state = 0x9e3779b97f4a7c15;

// xorshift64 (Marsaglia 2003): the same targets in every run.
static struct sockaddr_in random_target(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  const uint32_t chosen = (uint32_t)(random_state >> 16) % (vips * ports);
  return socket_address(first_vip + chosen / ports, first_port + chosen % ports);
}

static void take_targets(char** words) {
  first_vip = first_of(words[0]);
  vips = (uint32_t)atoi(words[1]);
  first_port = (uint32_t)atoi(words[2]);
  ports = (uint32_t)atoi(words[3]);
  if (vips == 0 || ports == 0) die("no targets");
}

// --- serve

static int serve(int port) {
  pin(1);
  const struct sockaddr_in any = socket_address(INADDR_ANY, (uint32_t)port);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0),
      datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  int yes = 1, room = 8 << 20;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  // Root may have more than the machine's default allows.
  setsockopt(datagrams, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  if (bind(listener, (const struct sockaddr*)&any, sizeof any) != 0) die("bind");
  if (listen(listener, 4096) != 0) die("listen");
  if (bind(datagrams, (const struct sockaddr*)&any, sizeof any) != 0) die("bind");
  int input = STDIN_FILENO;
  watch(listener, EPOLLIN, &listener);
  watch(datagrams, EPOLLIN, &datagrams);
  watch(input, EPOLLIN, &input);
  puts("ready");
  fflush(stdout);
  long connections = 0, received = 0;
  static char buffers[BATCH][2048];
  struct iovec parts[BATCH];
  struct mmsghdr messages[BATCH];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < BATCH; i++) {
    parts[i] = (struct iovec){buffers[i], sizeof buffers[i]};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  for (;;) {
    struct epoll_event events[3];
    const int count = epoll_wait(epoll_fd, events, 3, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr == &listener) {
        int fd;
        while ((fd = accept(listener, NULL, NULL)) >= 0) {
          connections++;
          close(fd);
        }
        if (errno != EAGAIN && errno != ECONNABORTED) die("accept");
      } else if (events[i].data.ptr == &datagrams) {
        const int got = recvmmsg(datagrams, messages, BATCH, MSG_DONTWAIT, NULL);
        if (got > 0) received += got;
      } else {
        char line[64];
        if (read(input, line, sizeof line) <= 0) return 0;
        printf("{\"connections\":%ld,\"datagrams\":%ld}\n", connections, received);
        fflush(stdout);
      }
    }
  }
}

// --- connect

typedef struct {
  int fd;
  double began;
} Attempt;

static Attempt attempts[MOST_IN_FLIGHT];
static uint32_t first_source, sources, next_source;
static long established, failed;
static int first_error;

static int begin(Attempt* attempt) {
  const uint32_t turn = next_source++ % (sources * SOURCE_PORTS);
  const struct sockaddr_in from =
      socket_address(first_source + turn / SOURCE_PORTS, FIRST_SOURCE_PORT + turn % SOURCE_PORTS);
  const struct sockaddr_in to = random_target();
  const struct linger reset = {.l_onoff = 1, .l_linger = 0};
  attempt->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (attempt->fd < 0) die("socket");
  attempt->began = now_ms();
  setsockopt(attempt->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (bind(attempt->fd, (const struct sockaddr*)&from, sizeof from) != 0) die("bind");
  if (connect(attempt->fd, (const struct sockaddr*)&to, sizeof to) != 0 && errno != EINPROGRESS) die("connect");
  watch(attempt->fd, EPOLLOUT, attempt);
  return 1;
}

static void end(Attempt* attempt, int error) {
  close(attempt->fd);
  attempt->fd = -1;
  if (error == 0) {
    established++;
    return;
  }
  if (first_error == 0) first_error = error;
  failed++;
}

static void connect_for(double milliseconds, int in_flight) {
  established = failed = first_error = 0;
  int open = 0;
  const double began = now_ms(), until = began + milliseconds;
  double ended = began, looked = began;
  for (int i = 0; i < in_flight; i++) open += begin(&attempts[i]);
  while (open > 0) {
    struct epoll_event events[256];
    const int count = epoll_wait(epoll_fd, events, 256, 100);
    const double now = now_ms();
    for (int i = 0; i < count; i++) {
      Attempt* attempt = events[i].data.ptr;
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &size);
      end(attempt, error);
      ended = now;
      open--;
      if (now < until) open += begin(attempt);
    }
    if (now - looked < 100) continue;
    looked = now;
    for (int i = 0; i < in_flight; i++) {
      if (attempts[i].fd < 0 || now - attempts[i].began < PATIENCE_MS) continue;
      end(&attempts[i], ETIMEDOUT);
      ended = now;
      open--;
      if (now < until) open += begin(&attempts[i]);
    }
  }
  printf("{\"count\":%ld,\"failed\":%ld,\"error\":\"%s\",\"ms\":%.3f}\n", established, failed,
         first_error == 0 ? "" : strerror(first_error), ended - began);
  fflush(stdout);
}

// --- send

static int flows[MOST_FLOWS];
static int flow_count;

static void open_flows(void) {
  for (int i = 0; i < flow_count; i++) {
    const struct sockaddr_in from = socket_address(first_source, FIRST_SOURCE_PORT + (uint32_t)i), to = random_target();
    flows[i] = socket(AF_INET, SOCK_DGRAM, 0);
    if (flows[i] < 0 || bind(flows[i], (const struct sockaddr*)&from, sizeof from) != 0) die("bind");
    if (connect(flows[i], (const struct sockaddr*)&to, sizeof to) != 0) die("connect");
  }
}

static void send_for(double milliseconds, int size) {
  static char payload[2048];
  struct iovec part = {payload, (size_t)size};
  struct mmsghdr messages[BATCH];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < BATCH; i++) {
    messages[i].msg_hdr.msg_iov = &part;
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  long sent = 0, errors = 0;
  const double began = now_ms(), until = began + milliseconds;
  double now = began;
  for (int flow = 0; now < until; flow = (flow + 1) % flow_count, now = now_ms()) {
    const int went = sendmmsg(flows[flow], messages, BATCH, 0);
    if (went > 0)
      sent += went;
    else
      errors++;  // ECONNREFUSED: an ICMP error came back; the answer of the server shows that nothing arrives.
  }
  printf("{\"count\":%ld,\"failed\":%ld,\"error\":\"\",\"ms\":%.3f}\n", sent, errors, now - began);
  fflush(stdout);
}

static int answer_lines(void (*work)(double, int), int argument) {
  char line[64];
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL) work(atof(line), argument);
  return 0;
}

int main(int count, char** words) {
  epoll_fd = epoll_create1(0);
  if (count == 3 && strcmp(words[1], "serve") == 0) return serve(atoi(words[2]));
  if (count == 9 && strcmp(words[1], "connect") == 0) {
    pin(0);
    const int in_flight = atoi(words[8]);
    first_source = first_of(words[2]);
    sources = (uint32_t)atoi(words[3]);
    take_targets(words + 4);
    if (in_flight < 1 || in_flight > MOST_IN_FLIGHT || sources < 1) die("arguments");
    return answer_lines(connect_for, in_flight);
  }
  if (count == 9 && strcmp(words[1], "send") == 0) {
    pin(0);
    const int size = atoi(words[8]);
    first_source = first_of(words[2]);
    flow_count = atoi(words[3]);
    take_targets(words + 4);
    if (flow_count < 1 || flow_count > MOST_FLOWS || size < 1 || size > 2048) die("arguments");
    open_flows();
    return answer_lines(send_for, size);
  }
  fputs("connections serve PORT | connections connect … | connections send …\n", stderr);
  return 2;
}
