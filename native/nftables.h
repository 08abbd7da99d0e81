// nftables over nfnetlink: one long-lived socket, used on an executor's thread only. Node-free.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "netlink.h"
#include "nftables_decode.h"
#include "nftables_program.h"
#include "nftables_refusal.h"
#include "nftables_types.h"
#include "result.h"

namespace ravel::nft {

// What became of a transaction: nothing is refused, or nothing is applied.
struct Outcome {
  std::optional<Refusal> refusal;
};

class Client {
 public:
  // Opens the socket and asks for the generation, which makes the kernel load nf_tables if it can;
  // kUnsupported where it cannot.
  static Result<std::unique_ptr<Client>> Open(int timeout_ms, int receive_buffer);
  // The same over a socket that is already open.
  static Result<std::unique_ptr<Client>> Over(std::unique_ptr<NetlinkSocket> socket);

  // NFTA_GEN_ID: grows by one with every transaction in the namespace, whoever commits it.
  Result<uint32_t> Generation();
  // Of the families ip, ip6 and inet.
  Result<std::vector<Table>> Tables();
  // Chains, rules and sets of one generation; kInterrupted when it changes during each of four reads.
  Result<TableState> List(const Table& table);
  Result<ElementColumns> Elements(const Table& table, const std::string& set);
  // One transaction in one system call (see BuildBatch). A Failure means that the transport broke.
  Result<Outcome> Commit(std::span<const uint8_t> program, std::optional<uint32_t> generation, bool apply);

  [[nodiscard]] uint32_t port() const { return socket_->port(); }

 private:
  explicit Client(std::unique_ptr<NetlinkSocket> socket) : socket_(std::move(socket)) {}
  Result<TableState> ListOnce(const Table& table, const std::string& subject);
  Result<ListedSet> Set(const Table& table, const std::string& set, const std::string& subject);

  std::unique_ptr<NetlinkSocket> socket_;
};

// A second socket, subscribed to NFNLGRP_NFTABLES.
class Monitor {
 public:
  static Result<std::unique_ptr<Monitor>> Open(int receive_buffer);
  [[nodiscard]] int fd() const { return socket_->fd(); }
  // Hands over what is queued; runs of equal messages as one event. True when the kernel dropped events.
  Result<bool> Receive(const std::function<void(const Event&)>& handler);

 private:
  explicit Monitor(std::unique_ptr<NetlinkSocket> socket) : socket_(std::move(socket)) {}
  std::unique_ptr<NetlinkSocket> socket_;
};

// `table ip ravel`.
std::string Describe(const Table& table);

}  // namespace ravel::nft
