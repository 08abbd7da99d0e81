// libFuzzer entry, built by scripts/fuzz-native where clang is installed.
#include "fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ravel::test::WalkDatagram({data, size});
  return 0;
}
