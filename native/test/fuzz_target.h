// What both fuzzers feed: every reader of bytes that somebody else wrote. Bounds are the sanitizers'
// business; here is only the walk.
#pragma once

#include <cstdint>
#include <span>

namespace ravel::test {

// Walks `data` as a datagram of messages, and as a tree of attributes. Returns how many there were.
size_t WalkDatagram(std::span<const uint8_t> data);

}  // namespace ravel::test
