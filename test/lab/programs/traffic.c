// The client of echo.c: many connections fast, or one datagram after another in one direction.
//
//   traffic ask
//     Each line of standard input is answered by one JSON line (lab/traffic.ts has its fields):
//       PROTOCOL ADDRESS PORT COUNT SEND WANT PARALLEL LIMIT_MS DF
//     COUNT questions of SEND bytes over tcp, udp or sctp, each from a port of its own, PARALLEL at a time; answers are
//     to have WANT bytes. After 32 failures no more is asked. DF is `do`, `dont` or `default`: what IP_MTU_DISCOVER is
//     set to.
//   traffic way ADDRESS PORT PER_SECOND
//     One socket sends numbered datagrams until the end of standard input; then says when each was sent:
//     {"sent":[microseconds of CLOCK_MONOTONIC,…],"errors":{…}}
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lab.h"

enum { MOST = 1024, BUFFER = 65536, SENT = 1 << 20, ENOUGH = 32 };

typedef struct {
  int open;
  double began;
  size_t sent, got;
  char line[160];
  char head[64];
  size_t head_length;
} Question;

static Question questions[MOST];
static Named pods[NAMES], clients[NAMES], errors[NAMES];
static long ok, failed, wrong, retransmitted;
static int least_segment, least_path;
static double slowest;
static int open_now;
static char buffer[BUFFER], blanks[BUFFER];

static struct {
  char protocol[8];
  struct sockaddr_storage target;
  socklen_t target_size;
  int count, send, want, parallel, limit_ms;
  char df[8];
} task;

static void add(Named* names, const char* text) {
  if (!count_in(names, text)) die("too many names");
}

static int address_of(const char* text, int port) {
  struct sockaddr_in* v4 = (struct sockaddr_in*)&task.target;
  struct sockaddr_in6* v6 = (struct sockaddr_in6*)&task.target;
  memset(&task.target, 0, sizeof task.target);
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    task.target_size = sizeof *v4;
    return 1;
  }
  if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1) return 0;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons((uint16_t)port);
  task.target_size = sizeof *v6;
  return 1;
}

static int is(const char* protocol) { return strcmp(task.protocol, protocol) == 0; }

static void done(int fd, const char* error) {
  const double took = now_ms() - questions[fd].began;
  if (took > slowest) slowest = took;
  if (error != NULL) {
    failed++;
    add(errors, error);
  }
  if (is("tcp")) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
      retransmitted += info.tcpi_total_retrans;
      if (error == NULL && (least_segment == 0 || (int)info.tcpi_snd_mss < least_segment))
        least_segment = (int)info.tcpi_snd_mss;
      if (error == NULL && (least_path == 0 || (int)info.tcpi_pmtu < least_path)) least_path = (int)info.tcpi_pmtu;
    }
  } else if (is("udp")) {
    int path = 0;
    socklen_t size = sizeof path;
    const int v6 = task.target.ss_family == AF_INET6;
    if (getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &path, &size) == 0 &&
        (least_path == 0 || path < least_path))
      least_path = path;
  }
  close(fd);
  questions[fd].open = 0;
  open_now--;
}

static void done_errno(int fd, const char* what) {
  char text[96];
  snprintf(text, sizeof text, "%s: %s", what, strerrorname_np(errno));
  done(fd, text);
}

static void answered(int fd) {
  Question* q = &questions[fd];
  char pod[64], client[64], protocol[8];
  int port;
  size_t received;
  if (sscanf(q->line, "%63s %63s %d %7s %zu", pod, client, &port, protocol, &received) != 5 || !is(protocol)) {
    done(fd, "an answer that is none");
    return;
  }
  if (received != (size_t)task.send || q->got < (size_t)task.want) wrong++;
  ok++;
  add(pods, pod);
  add(clients, client);
  done(fd, NULL);
}

static void begin(void) {
  const int type = is("udp") ? SOCK_DGRAM : SOCK_STREAM;
  const int number = is("udp") ? IPPROTO_UDP : is("sctp") ? IPPROTO_SCTP : IPPROTO_TCP;
  const int fd = socket(task.target.ss_family, type | SOCK_NONBLOCK, number);
  if (fd < 0) {
    failed++;
    add(errors, strerrorname_np(errno));
    return;
  }
  if (fd >= MOST) die("too many sockets");
  questions[fd] = (Question){.open = 1, .began = now_ms()};
  open_now++;
  const int v6 = task.target.ss_family == AF_INET6;
  if (strcmp(task.df, "default") != 0) {
    const int discover = strcmp(task.df, "do") == 0 ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
    setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &discover,
               sizeof discover);
  }
  if (connect(fd, (struct sockaddr*)&task.target, task.target_size) != 0 && errno != EINPROGRESS) {
    done_errno(fd, "connect");
    return;
  }
  if (is("udp")) {
    memset(buffer, ' ', (size_t)task.send);
    const int length = snprintf(buffer, sizeof buffer, "ask %d", task.want);
    buffer[length] = ' ';
    if (send(fd, buffer, (size_t)task.send, 0) != task.send) {
      done_errno(fd, "send");
      return;
    }
  } else {
    questions[fd].head_length =
        (size_t)snprintf(questions[fd].head, sizeof questions[fd].head, "%d %d\n", task.send, task.want);
  }
  watch(fd, is("udp") ? EPOLLIN : EPOLLOUT, EPOLL_CTL_ADD);
}

static void ask(int fd) {
  Question* q = &questions[fd];
  int error = 0;
  socklen_t size = sizeof error;
  if (q->sent == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error != 0) {
    errno = error;
    done_errno(fd, "connect");
    return;
  }
  const int in_head = q->sent < q->head_length;
  size_t left = in_head ? q->head_length - q->sent : q->head_length + (size_t)task.send - q->sent;
  // One message of SCTP is not larger than its buffer.
  if (left > 32768) left = 32768;
  const ssize_t sent = send(fd, in_head ? q->head + q->sent : blanks, left, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno != EAGAIN) done_errno(fd, "send");
    return;
  }
  q->sent += (size_t)sent;
  if (q->sent < q->head_length + (size_t)task.send) return;
  watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

static void hear(int fd) {
  Question* q = &questions[fd];
  const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
  if (got < 0) {
    if (errno != EAGAIN) done_errno(fd, "receive");
    return;
  }
  if (got == 0 && q->got == 0) {
    done(fd, "closed without an answer");
    return;
  }
  for (size_t i = 0; i < (size_t)got && q->got + i < sizeof q->line - 1; i++) q->line[q->got + i] = buffer[i];
  q->got += (size_t)got;
  if (got == 0 || is("udp") || q->got >= (size_t)(task.want > 0 ? task.want : 1 << 30)) answered(fd);
}

static void answer_task(void) {
  memset(pods, 0, sizeof pods);
  memset(clients, 0, sizeof clients);
  memset(errors, 0, sizeof errors);
  ok = failed = wrong = retransmitted = 0;
  least_segment = least_path = 0;
  slowest = 0;
  for (int begun = 0; (begun < task.count && failed < ENOUGH) || open_now > 0;) {
    for (; begun < task.count && failed < ENOUGH && open_now < task.parallel; begun++) begin();
    struct epoll_event events[256];
    const int ready = open_now == 0 ? 0 : epoll_wait(epoll_fd, events, 256, 20);
    for (int i = 0; i < ready; i++) {
      const int fd = events[i].data.fd;
      if (!questions[fd].open) continue;
      if ((events[i].events & EPOLLOUT) != 0)
        ask(fd);
      else
        hear(fd);
    }
    const double now = now_ms();
    for (int fd = 0; fd < MOST; fd++)
      if (questions[fd].open && now - questions[fd].began > task.limit_ms) done(fd, "timeout");
  }
  printf(
      "{\"ok\":%ld,\"failed\":%ld,\"wrong\":%ld,\"retransmitted\":%ld,\"segment\":%d,\"pathMtu\":%d,\"slowestMs\":%.0f",
      ok, failed, wrong, retransmitted, least_segment, least_path, slowest);
  print_table("pods", pods);
  print_table("clients", clients);
  print_table("errors", errors);
  puts("}");
  fflush(stdout);
}

static int ask_all(void) {
  char line[256], address[64];
  int port;
  epoll_fd = epoll_create1(0);
  memset(blanks, ' ', sizeof blanks);
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (sscanf(line, "%7s %63s %d %d %d %d %d %d %7s", task.protocol, address, &port, &task.count, &task.send,
               &task.want, &task.parallel, &task.limit_ms, task.df) != 9 ||
        !address_of(address, port) || task.parallel > 512 || task.send > BUFFER * (is("udp") ? 1 : 1024) ||
        task.send < 16)
      die(line);
    answer_task();
  }
  return 0;
}

/** What a sender that was kept from sending catches up with. */
enum { MOST_BEHIND_MS = 100 };

static int way(const char* address, int port, double per_second) {
  static double sent[SENT];
  long count = 0;
  if (!address_of(address, port)) die(address);
  const int fd = socket(task.target.ss_family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  if (connect(fd, (struct sockaddr*)&task.target, task.target_size) != 0) die("connect");
  double began = now_ms();
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  puts("started");
  fflush(stdout);
  for (;;) {
    if (poll(&input, 1, 1) > 0 && read(STDIN_FILENO, buffer, sizeof buffer) <= 0) break;
    // A machine that stood still does not make up for all of it: a burst of its own making would be lost in its queues.
    const double behind_ms = now_ms() - (began + (double)count * 1000 / per_second);
    if (behind_ms > MOST_BEHIND_MS) began += behind_ms - MOST_BEHIND_MS;
    for (; count < SENT && began + (double)count * 1000 / per_second <= now_ms(); count++) {
      const int length = snprintf(buffer, sizeof buffer, "way %ld", count);
      sent[count] = now_ms();
      // An error of an earlier datagram (ICMP) is told by this one, which is then not sent.
      for (int attempt = 0; send(fd, buffer, (size_t)length, 0) < 0 && attempt < 3; attempt++)
        add(errors, strerrorname_np(errno));
    }
  }
  printf("{\"sent\":[");
  for (long i = 0; i < count; i++) printf("%s%.0f", i == 0 ? "" : ",", sent[i] * 1e3);
  printf("]");
  print_table("errors", errors);
  puts("}");
  fflush(stdout);
  return 0;
}

int main(int count, char** words) {
  if (count == 2 && strcmp(words[1], "ask") == 0) return ask_all();
  if (count == 5 && strcmp(words[1], "way") == 0) return way(words[2], atoi(words[3]), atof(words[4]));
  fputs("traffic ask | traffic way ADDRESS PORT PER_SECOND\n", stderr);
  return 2;
}
