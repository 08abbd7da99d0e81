// First packets of many TCP connections: one segment from each of COUNT source ports, of whatever flags.
//   segments SOURCE FIRST-PORT COUNT DESTINATION PORT [syn|ack]     both addresses of one family, SOURCE one of ours
// Prints how many were sent. Nobody answers them: they are for directors, which forward without looking further.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what) {
  fprintf(stderr, "segments: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint32_t add(uint32_t sum, const void *bytes, size_t length) {
  const uint8_t *at = bytes;
  for (size_t i = 0; i + 1 < length; i += 2) sum += (uint32_t)(at[i] << 8 | at[i + 1]);
  return sum;
}

static uint16_t folded(uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

int main(int argc, char **argv) {
  if (argc < 6 || argc > 7) {
    fprintf(stderr, "usage: segments SOURCE FIRST-PORT COUNT DESTINATION PORT [syn|ack]\n");
    return 2;
  }
  const int family = strchr(argv[1], ':') == NULL ? AF_INET : AF_INET6;
  const int first = atoi(argv[2]), count = atoi(argv[3]), port = atoi(argv[5]);
  const int ack = argc == 7 && strcmp(argv[6], "ack") == 0;
  uint8_t source[16], destination[16];
  if (inet_pton(family, argv[1], source) != 1 || inet_pton(family, argv[4], destination) != 1) die("address");
  const size_t width = family == AF_INET ? 4 : 16;

  const int raw = socket(family, SOCK_RAW, IPPROTO_TCP);
  if (raw < 0) die("socket");
  struct sockaddr_in6 six = {.sin6_family = AF_INET6};
  struct sockaddr_in four = {.sin_family = AF_INET};
  struct sockaddr *const from = family == AF_INET ? (struct sockaddr *)&four : (struct sockaddr *)&six;
  const socklen_t size = family == AF_INET ? sizeof four : sizeof six;
  memcpy(family == AF_INET ? (void *)&four.sin_addr : (void *)&six.sin6_addr, source, width);
  if (bind(raw, from, size) != 0) die("bind");
  memcpy(family == AF_INET ? (void *)&four.sin_addr : (void *)&six.sin6_addr, destination, width);

  int sent = 0;
  for (int i = 0; i < count; i++) {
    struct tcphdr segment = {
        .source = htons((uint16_t)(first + i)), .dest = htons((uint16_t)port), .seq = htonl((uint32_t)i), .doff = 5};
    segment.syn = !ack;
    segment.ack = ack;
    segment.window = htons(1024);
    const uint8_t rest[4] = {0, IPPROTO_TCP, 0, sizeof segment};
    const uint32_t pseudo = add(add(add(0, source, width), destination, width), rest, sizeof rest);
    segment.check = htons(folded(add(pseudo, &segment, sizeof segment)));
    if (sendto(raw, &segment, sizeof segment, 0, from, size) == (ssize_t)sizeof segment) sent++;
    else if (errno != ENOBUFS) die("sendto");
  }
  printf("%d\n", sent);
  return 0;
}
