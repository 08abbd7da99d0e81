// Failures are values: nothing in the node-free core throws across a file border.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace ravel {

// Which class of src/native/errors.ts a failure becomes.
enum class FailureKind : uint8_t {
  kKernel,       // KernelError: the kernel answered with an errno, or a system call failed
  kUnsupported,  // UnsupportedError: `subject` is the feature, `message` the hint
  kTimeout,      // TimeoutError
  kClosed,       // ClosedError
  kProtocol,     // ProtocolError: malformed reply
  kInterrupted,  // DumpInterruptedError
};

struct Failure {
  FailureKind kind = FailureKind::kKernel;
  std::string operation = {};  // "ipvs.addService"
  std::string subject = {};    // for people: "tcp 10.0.0.1:80"
  int error = 0;               // positive errno
  std::string message = {};    // the kernel's extended-ack text (NLMSGERR_ATTR_MSG), or ours
  uint32_t offset = 0;         // NLMSGERR_ATTR_OFFS; 0 when absent
  int64_t index = -1;          // operation of the batch; -1 when there was none
};

// Either a value or a Failure. `Result<Done>` where there is nothing to return.
struct Done {};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}            // NOLINT(google-explicit-constructor)
  Result(Failure failure) : state_(std::move(failure)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const { return std::holds_alternative<T>(state_); }
  T& value() { return std::get<T>(state_); }
  const T& value() const { return std::get<T>(state_); }
  Failure& failure() { return std::get<Failure>(state_); }
  const Failure& failure() const { return std::get<Failure>(state_); }

 private:
  std::variant<T, Failure> state_;
};

}  // namespace ravel
