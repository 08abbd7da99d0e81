// A pod that says who it is and who asked, over TCP, UDP and (where the kernel has it) SCTP, IPv4 and IPv6.
//
//   echo NAME PORT
//     Says `ready` and the protocols by a line, e.g. `ready tcp udp sctp`.
//     Stream: takes `SEND WANT\n` and SEND bytes, answers `NAME CLIENT PORT PROTOCOL RECEIVED\n` filled up to WANT
//     bytes, and closes; after `SEND WANT keep\n` it takes the next one instead.
//     Datagram: `ask WANT …` is answered likewise. `way SEQUENCE …` is not answered but remembered. Each line of
//     standard input is answered by what was remembered: {"ranges":[[first,last],…],"twice":N}
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lab.h"

enum { MOST = 1024, BUFFER = 65536, RANGES = 65536 };

typedef struct {
  int open, is_sctp, keep;
  char head[64];
  size_t head_length, to_take, taken, to_give, given;
  char line[160];
  size_t line_length;
} Stream;

static Stream streams[MOST];
static struct { long first, last; } ranges[RANGES];
static int range_count;
static long twice;
static const char* name;
static char buffer[BUFFER];
static char blanks[BUFFER];

// IPv4 addresses come to these sockets as ::ffff:a.b.c.d.
static const char* text_of(const struct sockaddr_in6* address) {
  static char text[INET6_ADDRSTRLEN];
  inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof text);
  return IN6_IS_ADDR_V4MAPPED(&address->sin6_addr) ? strrchr(text, ':') + 1 : text;
}

static int introduce(char* line, size_t size, const struct sockaddr_in6* peer, const char* protocol, size_t received) {
  return snprintf(line, size, "%s %s %d %s %zu\n", name, text_of(peer), ntohs(peer->sin6_port), protocol, received);
}

static int listener(int type, int protocol, int port) {
  const int fd = socket(AF_INET6, type | SOCK_NONBLOCK, protocol);
  if (fd < 0) return -1;
  const int yes = 1, no = 0, much = 1 << 24;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  // Whoever sends 1,000 datagrams a second on a busy machine sends hundreds at once.
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &much, sizeof much);
  const struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  if (bind(fd, (const struct sockaddr*)&address, sizeof address) != 0) die("bind");
  if (type == SOCK_STREAM && listen(fd, 512) != 0) die("listen");
  watch(fd, EPOLLIN, EPOLL_CTL_ADD);
  return fd;
}

// Sequence numbers rise, so that a new one nearly always prolongs the newest range.
static void remember(long sequence) {
  for (int i = range_count - 1; i >= 0 && ranges[i].last >= sequence; i--) {
    if (ranges[i].first <= sequence) {
      twice++;
      return;
    }
  }
  if (range_count > 0 && ranges[range_count - 1].last + 1 == sequence) {
    ranges[range_count - 1].last = sequence;
    return;
  }
  if (range_count == RANGES) die("too many ranges");
  ranges[range_count].first = ranges[range_count].last = sequence;
  range_count++;
}

static void report(void) {
  printf("{\"ranges\":[");
  for (int i = 0; i < range_count; i++) printf("%s[%ld,%ld]", i == 0 ? "" : ",", ranges[i].first, ranges[i].last);
  printf("],\"twice\":%ld}\n", twice);
  fflush(stdout);
}

static void datagrams(int fd) {
  struct sockaddr_in6 peer;
  socklen_t size = sizeof peer;
  for (ssize_t got; (got = recvfrom(fd, buffer, sizeof buffer - 1, 0, (struct sockaddr*)&peer, &size)) >= 0;
       size = sizeof peer) {
    buffer[got] = 0;
    if (strncmp(buffer, "way ", 4) == 0) {
      remember(atol(buffer + 4));
    } else if (strncmp(buffer, "ask ", 4) == 0) {
      const size_t want = strtoul(buffer + 4, NULL, 10);
      char line[160];
      const int length = introduce(line, sizeof line, &peer, "udp", (size_t)got);
      if (want > sizeof buffer) continue;
      memset(buffer, ' ', want);
      memcpy(buffer, line, (size_t)length);
      // What does not fit is not answered: the client's timeout tells.
      sendto(fd, buffer, want > (size_t)length ? want : (size_t)length, 0, (struct sockaddr*)&peer, size);
    }
  }
}

static void take(int fd, int is_sctp) {
  for (int client; (client = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    if (client >= MOST) die("too many connections");
    streams[client] = (Stream){.open = 1, .is_sctp = is_sctp};
    watch(client, EPOLLIN, EPOLL_CTL_ADD);
  }
}

// Returns 0 when the connection is over.
static int receive(int fd) {
  Stream* s = &streams[fd];
  const ssize_t got = read(fd, buffer, sizeof buffer);
  if (got <= 0) return got < 0 && errno == EAGAIN;
  const char* at = buffer;
  size_t left = (size_t)got;
  while (left > 0 && (s->head_length == 0 || s->head[s->head_length - 1] != '\n')) {
    if (s->head_length == sizeof s->head - 1) return 0;
    s->head[s->head_length++] = *at++;
    left--;
    if (s->head[s->head_length - 1] != '\n') continue;
    sscanf(s->head, "%zu %zu", &s->to_take, &s->to_give);
    s->keep = strstr(s->head, " keep\n") != NULL;
  }
  s->taken += left;
  if (s->head_length == 0 || s->head[s->head_length - 1] != '\n' || s->taken < s->to_take) return 1;
  struct sockaddr_in6 peer;
  socklen_t size = sizeof peer;
  if (getpeername(fd, (struct sockaddr*)&peer, &size) != 0) return 0;
  s->line_length = (size_t)introduce(s->line, sizeof s->line, &peer, s->is_sctp ? "sctp" : "tcp", s->taken);
  if (s->to_give < s->line_length) s->to_give = s->line_length;
  watch(fd, EPOLLOUT, EPOLL_CTL_MOD);
  return 1;
}

static int give(int fd) {
  Stream* s = &streams[fd];
  const int in_line = s->given < s->line_length;
  const char* from = in_line ? s->line + s->given : blanks;
  size_t size = in_line ? s->line_length - s->given : s->to_give - s->given;
  // One message of SCTP is not larger than its buffer.
  if (size > 32768) size = 32768;
  const ssize_t sent = send(fd, from, size, MSG_NOSIGNAL);
  if (sent < 0) return errno == EAGAIN;
  s->given += (size_t)sent;
  if (s->given < s->to_give) return 1;
  if (!s->keep) return 0;
  *s = (Stream){.open = 1, .is_sctp = s->is_sctp};
  watch(fd, EPOLLIN, EPOLL_CTL_MOD);
  return 1;
}

int main(int count, char** words) {
  if (count != 3) {
    fputs("echo NAME PORT\n", stderr);
    return 2;
  }
  name = words[1];
  memset(blanks, ' ', sizeof blanks);
  epoll_fd = epoll_create1(0);
  const int port = atoi(words[2]);
  const int tcp = listener(SOCK_STREAM, IPPROTO_TCP, port), udp = listener(SOCK_DGRAM, IPPROTO_UDP, port);
  const int sctp = listener(SOCK_STREAM, IPPROTO_SCTP, port);
  watch(STDIN_FILENO, EPOLLIN, EPOLL_CTL_ADD);
  printf("ready%s%s%s\n", tcp < 0 ? "" : " tcp", udp < 0 ? "" : " udp", sctp < 0 ? "" : " sctp");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[256];
    const int ready = epoll_wait(epoll_fd, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      const int fd = events[i].data.fd;
      if (fd == STDIN_FILENO) {
        if (read(fd, buffer, sizeof buffer) <= 0) return 0;
        report();
      } else if (fd == udp) {
        datagrams(fd);
      } else if (fd == tcp || fd == sctp) {
        take(fd, fd == sctp);
      } else if (!((events[i].events & EPOLLOUT) != 0 ? give(fd) : receive(fd))) {
        close(fd);
      }
    }
  }
}
