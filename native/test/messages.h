// What tests of codecs do with written messages.
#pragma once

#include "../message.h"
#include "check.h"

namespace ravel::test {

// The first message that was written; the writer must outlive the view.
inline MessageView Only(const MessageWriter& writer) {
  MessageReader reader(writer.bytes());
  MessageView message;
  CHECK(reader.Next(&message));
  return message;
}

}  // namespace ravel::test
