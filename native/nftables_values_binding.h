// nftables listings as JavaScript values; shapes as in src/native/nftables-native.ts.
#pragma once

#include <napi.h>

#include <vector>

#include "nftables.h"

namespace ravel::nft {

Napi::Value TablesValue(Napi::Env env, std::vector<Table>& tables);
Napi::Value TableStateValue(Napi::Env env, TableState& state);
Napi::Value ColumnsValue(Napi::Env env, ElementColumns& columns);
// undefined, or what was refused.
Napi::Value OutcomeValue(Napi::Env env, Outcome& outcome);
Napi::Value EventValue(Napi::Env env, const Event& event, bool own);

}  // namespace ravel::nft
