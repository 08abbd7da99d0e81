#include "nftables_values_binding.h"

#include <cstring>

namespace ravel::nft {
namespace {

// One copy into memory that JavaScript owns.
template <typename Array, typename T>
Array TypedArray(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  if (!values.empty() && !array.IsEmpty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(T));
  return array;
}

template <typename T, typename Convert>
Napi::Array ArrayOf(Napi::Env env, const std::vector<T>& values, Convert convert) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i) array.Set(static_cast<uint32_t>(i), convert(env, values[i]));
  return array;
}

Napi::Value StringValue(Napi::Env env, const std::string& text) { return Napi::String::New(env, text); }

Napi::Value TypeValue(Napi::Env env, DataType type) { return Napi::Number::New(env, static_cast<uint8_t>(type)); }

Napi::Value KeyPartValue(Napi::Env env, const KeyPart& part) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("kind", static_cast<uint32_t>(part.kind));
  object.Set("modulus", part.modulus);
  return object;
}

// All fields of the C++ struct: nftables-decode.ts picks those that belong to the kind.
Napi::Value StatementValue(Napi::Env env, const Statement& statement) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("kind", static_cast<uint32_t>(statement.kind));
  object.Set("key", ArrayOf(env, statement.key, KeyPartValue));
  object.Set("set", statement.set);
  object.Set("inverted", statement.inverted);
  object.Set("protocol", static_cast<uint32_t>(statement.protocol));
  object.Set("address", TypedArray<Napi::Uint8Array>(env, statement.address));
  object.Set("prefix", static_cast<uint32_t>(statement.prefix));
  object.Set("mask", statement.mask);
  object.Set("value", statement.value);
  object.Set("verdict", statement.verdict.code);
  object.Set("chain", statement.verdict.chain);
  object.Set("interface", statement.interface);
  object.Set("segment", static_cast<uint32_t>(statement.segment));
  return object;
}

Napi::Value ChainValue(Napi::Env env, const Chain& chain) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("name", chain.name);
  object.Set("handle", Napi::BigInt::New(env, chain.handle));
  if (chain.base) {
    object.Set("type", chain.type);
    object.Set("hook", chain.hook);
    object.Set("priority", chain.priority);
    object.Set("drops", chain.drops);
  }
  return object;
}

Napi::Value RuleValue(Napi::Env env, const Rule& rule) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("chain", rule.chain);
  object.Set("handle", Napi::BigInt::New(env, rule.handle));
  if (rule.comment) object.Set("comment", *rule.comment);
  if (rule.statements) object.Set("statements", ArrayOf(env, *rule.statements, StatementValue));
  return object;
}

Napi::Value SetValue(Napi::Env env, const ListedSet& set) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("name", set.spec.name);
  object.Set("handle", Napi::BigInt::New(env, set.handle));
  object.Set("known", set.known);
  object.Set("key", ArrayOf(env, set.spec.key, TypeValue));
  object.Set("valueKind", static_cast<uint32_t>(set.spec.value_kind));
  object.Set("value", ArrayOf(env, set.spec.value, TypeValue));
  object.Set("counter", set.spec.counter);
  return object;
}

Napi::Value TableValue(Napi::Env env, const Table& table) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("family", static_cast<uint32_t>(table.family));
  object.Set("name", table.name);
  return object;
}

}  // namespace

Napi::Value TablesValue(Napi::Env env, std::vector<Table>& tables) { return ArrayOf(env, tables, TableValue); }

Napi::Value TableStateValue(Napi::Env env, TableState& state) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("dormant", state.dormant);
  object.Set("chains", ArrayOf(env, state.chains, ChainValue));
  object.Set("rules", ArrayOf(env, state.rules, RuleValue));
  object.Set("sets", ArrayOf(env, state.sets, SetValue));
  return object;
}

Napi::Value ColumnsValue(Napi::Env env, ElementColumns& columns) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("count", columns.count);
  object.Set("keyLength", columns.key_length);
  object.Set("keys", TypedArray<Napi::Uint8Array>(env, columns.keys));
  object.Set("valueLength", columns.value_length);
  object.Set("values", TypedArray<Napi::Uint8Array>(env, columns.values));
  object.Set("chain", TypedArray<Napi::Uint16Array>(env, columns.chain));
  object.Set("verdict", TypedArray<Napi::Int32Array>(env, columns.verdict));
  object.Set("chains", ArrayOf(env, columns.chains, StringValue));
  object.Set("packets", TypedArray<Napi::Float64Array>(env, columns.packets));
  object.Set("bytes", TypedArray<Napi::Float64Array>(env, columns.bytes));
  object.Set("flags", TypedArray<Napi::Uint32Array>(env, columns.flags));
  object.Set("comment", TypedArray<Napi::Uint32Array>(env, columns.comment));
  object.Set("comments", columns.comments);
  return object;
}

Napi::Value OutcomeValue(Napi::Env env, Outcome& outcome) {
  if (!outcome.refusal) return env.Undefined();
  const Refusal& refusal = *outcome.refusal;
  Napi::Object object = Napi::Object::New(env);
  object.Set("operation", static_cast<double>(refusal.operation));
  object.Set("element", static_cast<double>(refusal.element));
  object.Set("errno", refusal.error);
  object.Set("code", ErrnoName(refusal.error));
  object.Set("message", refusal.message);
  object.Set("offset", refusal.offset);
  object.Set("feature", refusal.feature);
  object.Set("module", refusal.module);
  return object;
}

Napi::Value EventValue(Napi::Env env, const Event& event, bool own) {
  const auto number = [env](const std::optional<uint32_t>& value) -> Napi::Value {
    return value ? Napi::Number::New(env, *value) : env.Undefined();
  };
  Napi::Object object = Napi::Object::New(env);
  object.Set("type", "change");
  object.Set("message", MessageName(event.message));
  object.Set("family", static_cast<uint32_t>(event.family));
  object.Set("table", event.table.empty() ? env.Undefined() : StringValue(env, event.table));
  object.Set("count", event.count);
  object.Set("own", own);
  object.Set("pid", number(event.process));
  object.Set("generation", number(event.generation));
  return object;
}

}  // namespace ravel::nft
