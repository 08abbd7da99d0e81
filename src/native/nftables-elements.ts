/** Elements from objects to columns, with every value checked at its path. */
import { inspect } from 'node:util';
import { writeAddress } from './address-bytes.ts';
import type { DataType, Element, ElementBatch, FieldValue, SetSpec, Verdict } from './nftables-types.ts';
import { COMMENT_BYTES, columnWidth, fieldWidth, HOST_LITTLE_ENDIAN, NAME_BYTES, NO_CHAIN, VERDICTS } from './nftables-vocabulary.ts';
import type { ProgramWriter } from './nftables-program.ts';

/** Elements encoded between two looks at the clock. */
const SLICE = 256;

/** A refused value as a message shows it, whatever it is. */
export function show(value: unknown): string {
  return inspect(value, { breakLength: Infinity, depth: 1, maxArrayLength: 8, maxStringLength: 80 });
}

const LIMITS: Readonly<Record<Exclude<DataType, 'ipv4_addr' | 'ipv6_addr'>, number>> = {
  inet_proto: 0xff,
  inet_service: 0xffff,
  mark: 0xffffffff,
  slot: 0xffffffff,
};

/** Writes one field; what is wrong with it in words, or undefined. No closure, no path: this is the inner loop. */
function writeField(type: DataType, value: FieldValue, bytes: Uint8Array, view: DataView, at: number): string | undefined {
  if (type === 'ipv4_addr' || type === 'ipv6_addr') {
    const family = type === 'ipv4_addr' ? 4 : 6;
    if (typeof value === 'string' && writeAddress(value, bytes, at) === family) return undefined;
    return `expected an IPv${family} address, got ${show(value)}`;
  }
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > LIMITS[type]) {
    return `expected an integer from 0 to ${LIMITS[type]} (${type}), got ${show(value)}`;
  }
  if (type === 'inet_proto') bytes[at] = value;
  else if (type === 'inet_service') view.setUint16(at, value, false);
  else view.setUint32(at, value, HOST_LITTLE_ENDIAN);
  return undefined;
}

function checkText(text: unknown, limit: number, path: string): asserts text is string {
  if (typeof text !== 'string') throw new TypeError(`${path}: expected a string, got ${show(text)}`);
  // UTF-8 takes at most 3 bytes for a UTF-16 unit, so most texts need no count.
  if (text.length * 3 > limit && Buffer.byteLength(text) > limit) throw new RangeError(`${path}: longer than ${limit} bytes`);
  if (text.includes('\0')) throw new TypeError(`${path}: contains a NUL`);
}

export function checkName(name: unknown, path: string): asserts name is string {
  checkText(name, NAME_BYTES, path);
  if (name === '') throw new TypeError(`${path}: is empty`);
}

export function checkComment(comment: unknown, path: string): asserts comment is string {
  checkText(comment, COMMENT_BYTES, path);
}

/** A verdict's code; its target is checked too. */
export function verdictCode(value: Verdict, path: string): number {
  const code = (VERDICTS as Readonly<Record<string, number>>)[value.verdict];
  if (code === undefined) throw new TypeError(`${path}.verdict: unknown verdict ${show(value.verdict)}`);
  if (value.verdict === 'goto' || value.verdict === 'jump') checkName(value.chain, `${path}.chain`);
  return code;
}

/** Numbers equal strings, from 0, in the order of their first use. */
class StringTable {
  readonly #indices = new Map<string, number>();

  index(text: string): number {
    let index = this.#indices.get(text);
    if (index === undefined) this.#indices.set(text, (index = this.#indices.size));
    return index;
  }

  get size(): number {
    return this.#indices.size;
  }

  write(writer: ProgramWriter): void {
    for (const text of this.#indices.keys()) writer.string(text);
  }
}

/** One column of keys or values; yields between slices. */
function* writeFields(
  writer: ProgramWriter,
  types: readonly DataType[],
  elements: readonly Element[],
  part: 'key' | 'value',
  path: string,
): Generator<void, void> {
  let at = writer.reserve(elements.length * columnWidth(types));
  const { buffer, view } = writer;
  for (let row = 0; row < elements.length; row++) {
    const fields = elements[row]?.[part];
    if (!Array.isArray(fields) || fields.length !== types.length) {
      throw new TypeError(`${path}[${row}].${part}: expected ${types.length} fields (${types.join(' . ')}), got ${show(fields)}`);
    }
    for (let k = 0; k < types.length; k++) {
      const type = types[k] as DataType;
      const wrong = writeField(type, (fields as readonly FieldValue[])[k] as FieldValue, buffer, view, at);
      if (wrong !== undefined) throw new RangeError(`${path}[${row}].${part}[${k}]: ${wrong}`);
      at += fieldWidth(type);
    }
    if (row % SLICE === SLICE - 1) yield;
  }
}

function* writeVerdicts(writer: ProgramWriter, elements: readonly Element[], path: string): Generator<void, void> {
  const codes = writer.reserve(elements.length * 4);
  const targets = writer.reserve(elements.length * 2);
  const { view } = writer;
  const chains = new StringTable();
  for (const [row, { value }] of elements.entries()) {
    if (value === undefined || !('verdict' in value)) throw new TypeError(`${path}[${row}].value: expected a verdict`);
    view.setInt32(codes + row * 4, verdictCode(value, `${path}[${row}].value`), true);
    view.setUint16(targets + row * 2, 'chain' in value ? chains.index(value.chain) : NO_CHAIN, true);
    if (chains.size >= NO_CHAIN) throw new RangeError(`${path}: more than ${NO_CHAIN - 1} different chains`);
    if (row % SLICE === SLICE - 1) yield;
  }
  writer.u16(chains.size);
  chains.write(writer);
}

function* writeComments(writer: ProgramWriter, elements: readonly Element[], path: string): Generator<void, void> {
  const present = elements.some(({ comment }) => comment !== undefined && comment !== '');
  writer.u8(present ? 1 : 0);
  if (!present) return;
  const start = writer.reserve(elements.length * 4);
  const { view } = writer;
  const comments = new StringTable();
  for (const [row, { comment }] of elements.entries()) {
    if (comment === undefined || comment === '') continue;
    checkComment(comment, `${path}[${row}].comment`);
    view.setUint32(start + row * 4, comments.index(comment) + 1, true);
    if (row % SLICE === SLICE - 1) yield;
  }
  writer.u32(comments.size);
  comments.write(writer);
}

/** The columns of element objects, as native/nftables_program.h wants them after the set. */
export function* writeElements(
  writer: ProgramWriter,
  set: SetSpec,
  elements: readonly Element[],
  keyOnly: boolean,
  path: string,
): Generator<void, void> {
  writer.u32(elements.length);
  yield* writeFields(writer, set.key, elements, 'key', path);
  if (keyOnly) return;
  if (set.value === 'verdict') yield* writeVerdicts(writer, elements, path);
  else if (set.value !== undefined) yield* writeFields(writer, set.value, elements, 'value', path);
  yield* writeComments(writer, elements, path);
}

interface TypedArray extends ArrayLike<number>, ArrayBufferView {}

/** `like`: an array of the kind expected, whose bytes the addon takes as they are. */
function column<Column extends TypedArray>(value: Column | undefined, like: new () => Column, length: number, path: string): Column {
  if (value !== undefined && !(value instanceof like)) throw new TypeError(`${path}: expected ${like.name}, got ${show(value)}`);
  if (value === undefined || value.length !== length) {
    throw new RangeError(`${path}: expected ${length} entries, got ${value === undefined ? 'none' : value.length}`);
  }
  return value;
}

const bytesOf = (values: Int32Array | Uint16Array | Uint32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** The same from columns: nothing is looked at one by one but the lengths, which bound what the addon reads. */
export function writeElementBatch(writer: ProgramWriter, set: SetSpec, batch: ElementBatch, keyOnly: boolean, path: string): void {
  const { count } = batch;
  if (!Number.isInteger(count) || count < 0) throw new RangeError(`${path}.count: expected a count, got ${show(count)}`);
  writer.u32(count);
  writer.copy(column(batch.keys, Uint8Array, count * columnWidth(set.key), `${path}.keys`));
  if (keyOnly) return;
  if (set.value === 'verdict') {
    const chains = batch.chains ?? [];
    writer.copy(bytesOf(column(batch.verdict, Int32Array, count, `${path}.verdict`)));
    writer.copy(bytesOf(column(batch.chain, Uint16Array, count, `${path}.chain`)));
    if (chains.length >= NO_CHAIN) throw new RangeError(`${path}.chains: more than ${NO_CHAIN - 1}`);
    writer.u16(chains.length);
    for (const [index, chain] of chains.entries()) {
      checkName(chain, `${path}.chains[${index}]`);
      writer.string(chain);
    }
  } else if (set.value !== undefined) {
    writer.copy(column(batch.values, Uint8Array, count * columnWidth(set.value), `${path}.values`));
  }
  // Index 0 is "none", so its text does not travel.
  const comments = batch.comments?.slice(1) ?? [];
  writer.u8(comments.length > 0 ? 1 : 0);
  if (comments.length === 0) return;
  writer.copy(bytesOf(column(batch.comment, Uint32Array, count, `${path}.comment`)));
  writer.u32(comments.length);
  for (const [index, comment] of comments.entries()) {
    checkComment(comment, `${path}.comments[${index + 1}]`);
    writer.string(comment);
  }
}
