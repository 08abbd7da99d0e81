#include "iptables_support.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
//
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "iptables_entry.h"
#include "netlink.h"

namespace ravel::ipt {
namespace {

const char* Tables(Family family) { return family == Family::kIpv4 ? "ip_tables" : "ip6_tables"; }
const char* NatModule(Family family) { return family == Family::kIpv4 ? "iptable_nat" : "ip6table_nat"; }

// Since Linux 6.17 legacy tables are an option that is off by default (NETFILTER_XTABLES_LEGACY), and RHEL 10 has none.
Failure NoTables(Family family) {
  return Failure{.kind = FailureKind::kUnsupported,
                 .subject = std::string("the legacy tables of iptables (") + Tables(family) + ")",
                 .message = std::string("modprobe ") + NatModule(family) +
                            ", or the nftables backend: a host that has only the nft variant of iptables needs it"};
}

class Prober {
 public:
  explicit Prober(Family family)
      : family_(family),
        fd_(socket(family == Family::kIpv4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)) {
    error_ = fd_ < 0 ? errno : 0;
  }
  ~Prober() {
    if (fd_ >= 0) close(fd_);
  }
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  int Ask(const char* name, uint8_t revision, bool target) const {
    if (fd_ < 0) return error_;
    xt_get_revision question{};
    std::string_view(name).copy(static_cast<char*>(question.name), sizeof(question.name) - 1);
    question.revision = revision;
    socklen_t size = sizeof(question);
    const bool v4 = family_ == Family::kIpv4;
    const int option = v4 ? (target ? IPT_SO_GET_REVISION_TARGET : IPT_SO_GET_REVISION_MATCH)
                          : (target ? IP6T_SO_GET_REVISION_TARGET : IP6T_SO_GET_REVISION_MATCH);
    return getsockopt(fd_, v4 ? IPPROTO_IP : IPPROTO_IPV6, option, &question, &size) == 0 ? 0 : errno;
  }

 private:
  Family family_;
  int fd_;
  int error_ = 0;
};

}  // namespace

Result<Done> CheckSupport(Family family, const AskRevision& ask) {
  for (const Extension& extension : Extensions()) {
    const int error = ask(extension.name, extension.revision, extension.target);
    if (error == 0) continue;
    // Nobody answers the option, or not for this family of addresses.
    if (error == ENOPROTOOPT || error == EAFNOSUPPORT) return NoTables(family);
    if (error == ENOENT || error == EPROTONOSUPPORT) {
      return Failure{.kind = FailureKind::kUnsupported,
                     .subject = std::string(Tables(family)) + (extension.target ? " target " : " match ") +
                                extension.name + " revision " + std::to_string(extension.revision),
                     .message = std::string("modprobe ") + extension.module};
    }
    return TableFailure("iptables.open", extension.name, error, family);
  }
  return Done{};
}

Result<Done> CheckSupport(Family family) {
  const Prober prober(family);
  return CheckSupport(family, [&prober](const char* name, uint8_t revision, bool target) {
    return prober.Ask(name, revision, target);
  });
}

Result<bool> TablePresent(Family family) {
  // /proc/net is that of the process's first thread, which may be in another namespace.
  const std::string path = std::string("/proc/thread-self/net/") + Tables(family) + "_names";
  errno = 0;
  std::ifstream names(path);
  // Without the file the kernel has no such tables at all, or has not needed them yet.
  if (!names && errno == ENOENT) return false;
  if (!names) return SystemFailure("iptables.open", path, errno);
  std::string name;
  while (std::getline(names, name)) {
    if (name == "nat") return true;
  }
  return false;
}

Failure TableFailure(const std::string& operation, const std::string& subject, int error, Family family) {
  if (error == ENOPROTOOPT || error == EAFNOSUPPORT) return NoTables(family);
  Failure failure = SystemFailure(operation, subject, error);
  if (error == EPERM) failure.message = "needs CAP_NET_ADMIN and CAP_NET_RAW";
  if (error == ELOOP) failure.message = "chains lead into each other in a circle";
  if (error == ENOENT)
    failure.message = std::string("the table, a match or a target is missing; modprobe ") + NatModule(family);
  if (error == EINVAL) failure.message = "a rule that its chain's hook does not allow; dmesg may say which";
  return failure;
}

}  // namespace ravel::ipt
