/*
 * The least that programming IPVS can cost: messages packed by hand into one buffer, sent in chunks of
 * at most 192 KiB, NLM_F_ACK on the last of each, answers read until that one is acknowledged. No names,
 * no checks, no objects. The same messages, attribute by attribute, as native/ipvs_codec.cc makes.
 *
 *   bare-loop SERVICES DESTINATIONS [FILE]
 *
 * adds SERVICES virtual services (tcp 198.18.0.0 + i, port 80, wrr) of DESTINATIONS each (10.20.0.1 + k,
 * port 80, direct, weight 1) and prints the nanoseconds from the first byte packed to the last answer.
 * With FILE the messages are written there instead of to the kernel.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 192 << 10, LONGEST = 512 };

static char out[CHUNK];
static size_t used;
static uint32_t sequence;
static uint16_t family;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static struct nlmsghdr *begin(uint16_t type, uint8_t command) {
  struct nlmsghdr *header = (struct nlmsghdr *)(out + used);
  memset(header, 0, NLMSG_HDRLEN + GENL_HDRLEN);
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST;
  header->nlmsg_seq = ++sequence;
  struct genlmsghdr *generic = (struct genlmsghdr *)(header + 1);
  generic->cmd = command;
  generic->version = 1;
  used += NLMSG_HDRLEN + GENL_HDRLEN;
  return header;
}

static void end(struct nlmsghdr *header) { header->nlmsg_len = (uint32_t)(out + used - (char *)header); }

static struct nlattr *put(uint16_t type, const void *data, uint16_t size) {
  struct nlattr *attribute = (struct nlattr *)(out + used);
  attribute->nla_type = type;
  attribute->nla_len = (uint16_t)(NLA_HDRLEN + size);
  if (size % NLA_ALIGNTO != 0) memset((char *)attribute + NLA_ALIGN(attribute->nla_len) - NLA_ALIGNTO, 0, NLA_ALIGNTO);
  memcpy((char *)attribute + NLA_HDRLEN, data, size);
  used += NLA_ALIGN(attribute->nla_len);
  return attribute;
}

static struct nlattr *nest(uint16_t type) {
  struct nlattr *attribute = (struct nlattr *)(out + used);
  attribute->nla_type = type | NLA_F_NESTED;
  used += NLA_HDRLEN;
  return attribute;
}

static void close_nest(struct nlattr *attribute) { attribute->nla_len = (uint16_t)(out + used - (char *)attribute); }

static void put16(uint16_t type, uint16_t value) { put(type, &value, sizeof(value)); }
static void put32(uint16_t type, uint32_t value) { put(type, &value, sizeof(value)); }

static void put_address(uint16_t type, uint32_t address) {
  uint32_t all[4] = {htonl(address), 0, 0, 0};
  put(type, all, sizeof(all));
}

static struct nlattr *begin_service(uint32_t address) {
  struct nlattr *service = nest(IPVS_CMD_ATTR_SERVICE);
  put16(IPVS_SVC_ATTR_AF, AF_INET);
  put16(IPVS_SVC_ATTR_PROTOCOL, IPPROTO_TCP);
  put_address(IPVS_SVC_ATTR_ADDR, address);
  put16(IPVS_SVC_ATTR_PORT, htons(80));
  return service;
}

static void add_service(uint32_t address) {
  struct ip_vs_flags flags = {0, ~0U};
  struct nlmsghdr *message = begin(family, IPVS_CMD_NEW_SERVICE);
  struct nlattr *service = begin_service(address);
  put(IPVS_SVC_ATTR_SCHED_NAME, "wrr", 4);
  put(IPVS_SVC_ATTR_FLAGS, &flags, sizeof(flags));
  put32(IPVS_SVC_ATTR_TIMEOUT, 0);
  put32(IPVS_SVC_ATTR_NETMASK, ~0U);
  close_nest(service);
  end(message);
}

static void add_destination(uint32_t address, uint32_t real) {
  struct nlmsghdr *message = begin(family, IPVS_CMD_NEW_DEST);
  close_nest(begin_service(address));
  struct nlattr *destination = nest(IPVS_CMD_ATTR_DEST);
  put_address(IPVS_DEST_ATTR_ADDR, real);
  put16(IPVS_DEST_ATTR_PORT, htons(80));
  put32(IPVS_DEST_ATTR_FWD_METHOD, IP_VS_CONN_F_DROUTE);
  put32(IPVS_DEST_ATTR_WEIGHT, 1);
  put32(IPVS_DEST_ATTR_U_THRESH, 0);
  put32(IPVS_DEST_ATTR_L_THRESH, 0);
  put16(IPVS_DEST_ATTR_ADDR_FAMILY, AF_INET);
  close_nest(destination);
  end(message);
}

/* Reads until sequence `fence` is answered; dies on any error. Returns what the first other message carried. */
static void await(int fd, uint32_t fence) {
  static char in[64 << 10];
  for (;;) {
    ssize_t got = recv(fd, in, sizeof(in), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) die("recv");
    size_t left = (size_t)got;
    for (struct nlmsghdr *message = (struct nlmsghdr *)in; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
      if (message->nlmsg_type == GENL_ID_CTRL) {
        struct nlattr *attribute = (struct nlattr *)((char *)NLMSG_DATA(message) + GENL_HDRLEN);
        while ((char *)attribute < (char *)message + message->nlmsg_len) {
          if (attribute->nla_type == CTRL_ATTR_FAMILY_ID) memcpy(&family, (char *)attribute + NLA_HDRLEN, sizeof(family));
          attribute = (struct nlattr *)((char *)attribute + NLA_ALIGN(attribute->nla_len));
        }
      }
      if (message->nlmsg_type != NLMSG_ERROR) continue;
      int error = ((struct nlmsgerr *)NLMSG_DATA(message))->error;
      if (error != 0) {
        errno = -error;
        die("refused");
      }
      if (message->nlmsg_seq == fence) return;
    }
  }
}

static void flush(int fd, struct nlmsghdr *last, FILE *file) {
  if (file != NULL) {
    if (fwrite(out, 1, used, file) != used) die("write");
    used = 0;
    return;
  }
  last->nlmsg_flags |= NLM_F_ACK;
  if (send(fd, out, used, 0) != (ssize_t)used) die("send");
  used = 0;
  await(fd, last->nlmsg_seq);
}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  int services = atoi(arguments[1]);
  int destinations = atoi(arguments[2]);
  FILE *file = count > 3 ? fopen(arguments[3], "w") : NULL;
  int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
  struct sockaddr_nl self = {.nl_family = AF_NETLINK};
  if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) != 0) die("socket");
  if (file == NULL) {
    struct nlmsghdr *resolve = begin(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    put(CTRL_ATTR_FAMILY_NAME, IPVS_GENL_NAME, sizeof(IPVS_GENL_NAME));
    end(resolve);
    flush(fd, resolve, NULL);
  }

  struct timespec from, to;
  clock_gettime(CLOCK_MONOTONIC, &from);
  struct nlmsghdr *last = NULL;
  for (int i = 0; i < services; i++) {
    uint32_t address = 0xc6120000U + (uint32_t)i;
    for (int k = -1; k < destinations; k++) {
      if (used + LONGEST > CHUNK) flush(fd, last, file);
      last = (struct nlmsghdr *)(out + used);
      if (k < 0) {
        add_service(address);
      } else {
        add_destination(address, 0x0a140001U + (uint32_t)k);
      }
    }
  }
  if (used > 0) flush(fd, last, file);
  clock_gettime(CLOCK_MONOTONIC, &to);
  printf("%lld\n", (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec);
  if (file != NULL) fclose(file);
  return 0;
}
