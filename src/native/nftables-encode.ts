/**
 * Operations to the compact program of native/nftables_program.h. Everything is checked here, so that
 * bad input is refused at its path before the kernel hears of it.
 */
import { parseAddressBytes } from './address-bytes.ts';
import { checkComment, checkName, show, verdictCode, writeElementBatch, writeElements } from './nftables-elements.ts';
import { ProgramWriter } from './nftables-program.ts';
import type { Chain, DataType, KeyPart, NftOperation, Rule, SetSpec, Statement, TableId } from './nftables-types.ts';
import {
  columnWidth,
  DATA_TYPES,
  FAMILIES,
  HOOKS,
  INTERFACE_BYTES,
  KEY_PARTS,
  NUMGEN_RANDOM,
  operationCode,
  STATEMENTS,
} from './nftables-vocabulary.ts';

/** NFT_DATA_VALUE_MAXLEN: bytes of a key or a value, and of the kernel's registers. */
const REGISTER_BYTES = 64;
/** A concatenated type id is 32 bits, 6 for each field. */
const FIELDS = 5;

function writeName(writer: ProgramWriter, name: unknown, path: string): void {
  checkName(name, path);
  writer.string(name);
}

function integer(value: unknown, low: number, high: number, path: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < low || value > high) {
    throw new RangeError(`${path}: expected an integer from ${low} to ${high}, got ${show(value)}`);
  }
  return value;
}

function writeTable(writer: ProgramWriter, table: TableId, path: string): void {
  const family = (FAMILIES as Readonly<Record<string, number>>)[table.family];
  if (family === undefined) throw new TypeError(`${path}.family: expected ip, ip6 or inet, got ${show(table.family)}`);
  writer.u8(family);
  writeName(writer, table.name, `${path}.name`);
}

function writeChain(writer: ProgramWriter, { name, hook }: Chain, path: string): void {
  writeName(writer, name, `${path}.name`);
  writer.u8(hook === undefined ? 0 : 1);
  if (hook === undefined) return;
  const number = HOOKS.indexOf(hook.hook);
  if (number < 0) throw new TypeError(`${path}.hook.hook: unknown hook ${show(hook.hook)}`);
  writeName(writer, hook.type, `${path}.hook.type`);
  writer.u32(number);
  writer.i32(integer(hook.priority, -0x80000000, 0x7fffffff, `${path}.hook.priority`));
}

function writeTypes(writer: ProgramWriter, types: readonly DataType[], path: string): void {
  if (types.length > FIELDS || columnWidth(types) > REGISTER_BYTES) {
    throw new RangeError(`${path}: at most ${FIELDS} fields and ${REGISTER_BYTES} bytes`);
  }
  writer.u8(types.length);
  for (const [index, type] of types.entries()) {
    const code = DATA_TYPES.indexOf(type);
    if (code < 0) throw new TypeError(`${path}[${index}]: unknown type ${show(type)}`);
    writer.u8(code);
  }
}

function writeSet(writer: ProgramWriter, set: SetSpec, path: string): void {
  writeName(writer, set.name, `${path}.name`);
  if (set.key.length === 0) throw new RangeError(`${path}.key: is empty`);
  writeTypes(writer, set.key, `${path}.key`);
  const data = set.value === undefined || set.value === 'verdict' ? [] : set.value;
  if (set.value !== undefined && set.value !== 'verdict' && data.length === 0) throw new RangeError(`${path}.value: is empty`);
  // enum ValueKind.
  writer.u8(set.value === undefined ? 0 : set.value === 'verdict' ? 2 : 1);
  writeTypes(writer, data, `${path}.value`);
  writer.u8(set.counter === true ? 1 : 0);
}

/** Header fields exist under their own protocol only; `inet` tables have both. */
function checkFamily(word: string, table: TableId, path: string): void {
  const wrong = table.family === 'ip' ? /(^|^ct original )ip6 / : table.family === 'ip6' ? /(^|^ct original )ip / : undefined;
  if (wrong?.test(word) === true) throw new TypeError(`${path}: ${word} in a table of family ${table.family}`);
}

function writeKey(writer: ProgramWriter, key: readonly KeyPart[], table: TableId, path: string): void {
  if (key.length === 0) throw new RangeError(`${path}: is empty`);
  writer.u8(key.length);
  let bytes = 0;
  for (const [index, part] of key.entries()) {
    const at = `${path}[${index}]`;
    if (typeof part === 'object') {
      if ((part.numgen as string) !== 'random') throw new TypeError(`${at}.numgen: expected random`);
      writer.u8(NUMGEN_RANDOM);
      // The kernel refuses a modulus of 0 (nft_ng_random_init).
      writer.u32(integer(part.modulus, 1, 0xffffffff, `${at}.modulus`));
      bytes += 4;
      continue;
    }
    const code = KEY_PARTS.indexOf(part);
    if (code < 0) throw new TypeError(`${at}: unknown key part ${show(part)}`);
    checkFamily(part, table, at);
    writer.u8(code);
    writer.u32(0);
    bytes += part.includes('ip6') ? 16 : 4;
  }
  if (bytes > REGISTER_BYTES) throw new RangeError(`${path}: longer than ${REGISTER_BYTES} bytes`);
}

function writeAddressMatch(
  writer: ProgramWriter,
  statement: Extract<Statement, { kind: 'source' | 'destination' }>,
  table: TableId,
  path: string,
): void {
  const bytes = typeof statement.address === 'string' ? parseAddressBytes(statement.address) : undefined;
  if (bytes === undefined) throw new TypeError(`${path}.address: expected an address, got ${show(statement.address)}`);
  checkFamily(bytes.length === 4 ? 'ip address' : 'ip6 address', table, `${path}.address`);
  writer.u8(bytes.length);
  writer.copy(bytes);
  writer.u8(integer(statement.prefix, 1, bytes.length * 8, `${path}.prefix`));
  writer.u8(statement.inverted === true ? 1 : 0);
}

function writeStatement(writer: ProgramWriter, statement: Statement, table: TableId, path: string): void {
  const kind = STATEMENTS.indexOf(statement.kind);
  if (kind < 0) throw new TypeError(`${path}.kind: unknown statement ${show(statement.kind)}`);
  writer.u8(kind);
  switch (statement.kind) {
    case 'vmap':
    case 'dnatMap':
      writeKey(writer, statement.key, table, `${path}.key`);
      writeName(writer, statement.map, `${path}.map`);
      writer.u8(0);
      return;
    case 'inSet':
      writeKey(writer, statement.key, table, `${path}.key`);
      writeName(writer, statement.set, `${path}.set`);
      writer.u8(statement.inverted === true ? 1 : 0);
      return;
    case 'protocol':
      writer.u8(integer(statement.protocol, 0, 0xff, `${path}.protocol`));
      return;
    case 'source':
    case 'destination':
      writeAddressMatch(writer, statement, table, path);
      return;
    case 'markOr':
      writer.u32(integer(statement.bits, 0, 0xffffffff, `${path}.bits`));
      writer.u32(0);
      return;
    case 'markIs':
      writer.u32(integer(statement.mask, 1, 0xffffffff, `${path}.mask`));
      writer.u32(integer(statement.value, 0, 0xffffffff, `${path}.value`));
      return;
    case 'verdict':
      writer.i32(verdictCode(statement.verdict, `${path}.verdict`));
      writer.string('chain' in statement.verdict ? statement.verdict.chain : '');
      return;
    case 'inputInterface':
      writer.string(interfaceName(statement.name, `${path}.name`));
      return;
    case 'maxSegment':
      // What the option can hold (RFC 9293, 3.7.1).
      writer.u16(integer(statement.bytes, 1, 0xffff, `${path}.bytes`));
      return;
    case 'masquerade':
    case 'counter':
    case 'destinationTranslated':
    case 'tcpSyn':
      return;
  }
}

/** As dev_valid_name() of the kernel has it, less what nft reads as a wildcard or cannot quote. */
function interfaceName(name: unknown, path: string): string {
  if (typeof name !== 'string' || !/^[^\s\0/:*"]+$/.test(name) || Buffer.byteLength(name) > INTERFACE_BYTES || /^\.\.?$/.test(name)) {
    throw new TypeError(`${path}: expected the name of an interface, got ${show(name)}`);
  }
  return name;
}

/** Some parts of a packet have a meaning under one transport protocol only, which a statement before them must name. */
function neededProtocol(statement: Statement): 'any' | number | undefined {
  if (statement.kind === 'tcpSyn' || statement.kind === 'maxSegment') return 6;
  return 'key' in statement && statement.key.includes('ct original proto-dst') ? 'any' : undefined;
}

function writeStatements(writer: ProgramWriter, statements: readonly Statement[], table: TableId, path: string): void {
  let protocol: number | undefined;
  for (const [index, statement] of statements.entries()) {
    const needed = neededProtocol(statement);
    if (needed !== undefined && (protocol === undefined || (needed !== 'any' && needed !== protocol))) {
      throw new TypeError(`${path}[${index}]: needs a statement on protocol ${needed} before it`);
    }
    writeStatement(writer, statement, table, `${path}[${index}]`);
    if (statement.kind === 'protocol') protocol = statement.protocol;
  }
}

function writeRule(writer: ProgramWriter, rule: Rule, handle: bigint | undefined, table: TableId, path: string): void {
  writeName(writer, rule.chain, `${path}.chain`);
  if (handle !== undefined) writer.u64(handle);
  // NFT_RULE_MAXEXPRS is 128 expressions; no statement of ours is shorter than one.
  integer(rule.statements.length, 1, 128, `${path}.statements: count`);
  writer.u8(rule.statements.length);
  writeStatements(writer, rule.statements, table, `${path}.statements`);
  const comment = rule.comment ?? '';
  checkComment(comment, `${path}.comment`);
  writer.string(comment);
}

function checkHandle(handle: unknown, path: string): bigint {
  if (typeof handle !== 'bigint' || handle < 1n || handle >= 1n << 64n) throw new TypeError(`${path}: expected a rule handle (bigint)`);
  return handle;
}

function* writeOperation(writer: ProgramWriter, operation: NftOperation, path: string): Generator<void, void> {
  const code = operationCode(operation.op);
  if (code < 0) throw new TypeError(`${path}.op: unknown operation ${show(operation.op)}`);
  writer.u8(code);
  const { table } = operation;
  writeTable(writer, table, `${path}.table`);
  switch (operation.op) {
    case 'addTable':
    case 'createTable':
    case 'deleteTable':
    case 'flushTable':
      return;
    case 'addChain':
    case 'createChain':
      writeChain(writer, operation.chain, `${path}.chain`);
      return;
    case 'deleteChain':
    case 'flushChain':
      writeName(writer, operation.chain.name, `${path}.chain.name`);
      return;
    case 'addRule':
    case 'insertRule':
      writeRule(writer, operation.rule, undefined, table, `${path}.rule`);
      return;
    case 'replaceRule':
      writeRule(writer, operation.rule, checkHandle(operation.handle, `${path}.handle`), table, `${path}.rule`);
      return;
    case 'deleteRule':
      writeName(writer, operation.chain, `${path}.chain`);
      writer.u64(checkHandle(operation.handle, `${path}.handle`));
      return;
    case 'addSet':
    case 'createSet':
      writeSet(writer, operation.set, `${path}.set`);
      return;
    case 'deleteSet':
    case 'flushSet':
      writeName(writer, operation.set.name, `${path}.set.name`);
      return;
    case 'addElements':
    case 'createElements':
    case 'deleteElements':
      writeSet(writer, operation.set, `${path}.set`);
      yield* writeElements(writer, operation.set, operation.elements, operation.op === 'deleteElements', `${path}.elements`);
      return;
    case 'addElementBatch':
    case 'createElementBatch':
    case 'deleteElementBatch':
      writeSet(writer, operation.set, `${path}.set`);
      writeElementBatch(writer, operation.set, operation.batch, operation.op === 'deleteElementBatch', `${path}.batch`);
  }
}

/**
 * The program of a list of operations. A generator that yields every few hundred elements, so that the
 * caller can give way; the operations must not change until it is done. Throws TypeError and RangeError
 * that begin with the path: `operations[2].elements[17].key[0]: expected an IPv4 address, got "x"`.
 */
export function* encodeProgram(operations: readonly NftOperation[]): Generator<void, Uint8Array> {
  const writer = new ProgramWriter();
  for (const [index, operation] of operations.entries()) {
    yield* writeOperation(writer, operation, `operations[${index}]`);
    yield;
  }
  return writer.bytes();
}
