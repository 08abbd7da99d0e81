// IPVS records from and to JavaScript values, on the JavaScript thread.
#pragma once

#include <optional>
#include <vector>

#include "binding.h"
#include "ipvs.h"

namespace ravel::ipvs {

// The field as a number; 0 where it is none.
uint32_t NumberAt(const Napi::Object& object, const char* name);

// A block of operations from arguments (bytes: ArrayBuffer, count: number, names: string[]): a view of
// the buffer, so not for longer than the call. Nothing, with a JavaScript exception pending, when the
// arguments are not that.
std::optional<OperationBlock> BlockOf(const Napi::CallbackInfo& info);

// The one service that row 0 of a block names; nothing, with an exception pending, when it is not one row.
std::optional<ServiceRecord> ServiceOf(const Napi::CallbackInfo& info);

// A daemon from an object of plain fields; ipvs.ts has checked their ranges.
bool DaemonOf(const Napi::CallbackInfo& info, DaemonRecord* daemon);

Napi::Value SnapshotValue(Napi::Env env, SnapshotBlock& block);

// Refused operations as rows of five numbers (index, errno, offset, code text, kernel text), texts apart:
// when all of a large batch are refused, objects would hold the event loop.
Napi::Value ErrorsValue(Napi::Env env, std::vector<MessageError>& errors);

Napi::Value InfoValue(Napi::Env env, InfoRecord& info);
Napi::Value TimeoutsValue(Napi::Env env, TimeoutRecord& timeouts);
Napi::Value DaemonsValue(Napi::Env env, std::vector<DaemonRecord>& daemons);

}  // namespace ravel::ipvs
