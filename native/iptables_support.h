// Whether the kernel has legacy tables and every extension the vocabulary needs, asked without making the table:
// libiptc's own way of asking creates it, with its hooks. Node-free, and free of libiptc.
#pragma once

#include <functional>

#include "iptables_types.h"
#include "result.h"

namespace ravel::ipt {

// errno of the kernel's answer about one extension's revision, 0 when it has it; EPERM also for want of a socket.
using AskRevision = std::function<int(const char* name, uint8_t revision, bool target)>;

// kUnsupported names what is missing; kKernel EPERM without CAP_NET_ADMIN and CAP_NET_RAW.
Result<Done> CheckSupport(Family family);
Result<Done> CheckSupport(Family family, const AskRevision& ask);

// Whether this thread's namespace has the table "nat" already.
Result<bool> TablePresent(Family family);

// A failure to read or change the table: errno as a Failure, with words where the errno has one meaning here.
Failure TableFailure(const std::string& operation, const std::string& subject, int error, Family family);

}  // namespace ravel::ipt
