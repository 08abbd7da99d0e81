/** Elements as the addon hands them over: fields padded to 4 bytes, strings in tables of their own. */
import { endianness } from 'node:os';
import { forEachElement } from '../../src/native/nftables-columns.ts';
import type { DataType, Element, ElementBatch, ElementColumns, FieldValue, SetSpec, Verdict } from '../../src/native/nftables-types.ts';
import { writeAddress } from '../../src/native/address-bytes.ts';

const LITTLE_ENDIAN = endianness() === 'LE';
const VERDICT_CODES: Readonly<Record<Verdict['verdict'], number>> = { drop: 0, accept: 1, return: -5, goto: -4, jump: -3 };

const width = (type: DataType): number => (type === 'ipv6_addr' ? 16 : 4);

function writeField(type: DataType, value: FieldValue, view: DataView, offset: number): void {
  switch (type) {
    case 'ipv4_addr':
    case 'ipv6_addr':
      if (writeAddress(String(value), new Uint8Array(view.buffer), view.byteOffset + offset) === 0)
        throw new TypeError(`not an address: ${value}`);
      return;
    case 'inet_proto':
      view.setUint8(offset, Number(value));
      return;
    case 'inet_service':
      view.setUint16(offset, Number(value), false);
      return;
    case 'mark':
    case 'slot':
      view.setUint32(offset, Number(value), LITTLE_ENDIAN);
  }
}

function writeFields(types: readonly DataType[], values: readonly FieldValue[], bytes: Uint8Array, start: number): void {
  const view = new DataView(bytes.buffer);
  let offset = start;
  for (const [at, type] of types.entries()) {
    const value = values[at];
    if (value === undefined) throw new RangeError(`field ${at} is missing`);
    writeField(type, value, view, offset);
    offset += width(type);
  }
}

/** Index of a text in a table that grows as needed. */
function indexer(texts: string[]): (text: string) => number {
  const indexes = new Map(texts.map((text, at) => [text, at]));
  return (text) => {
    const known = indexes.get(text);
    if (known !== undefined) return known;
    indexes.set(text, texts.length);
    return texts.push(text) - 1;
  };
}

export type CountedElement = Element & { readonly packets: number; readonly bytes: number };

export function elementColumns(set: SetSpec, elements: readonly CountedElement[]): ElementColumns {
  const count = elements.length;
  const keyLength = set.key.reduce((sum, type) => sum + width(type), 0);
  const valueTypes = typeof set.value === 'object' ? set.value : [];
  const valueLength = valueTypes.reduce((sum, type) => sum + width(type), 0);
  const chains: string[] = [];
  const comments = [''];
  const [chainIndex, commentIndex] = [indexer(chains), indexer(comments)];
  const columns: ElementColumns = {
    count,
    keyLength,
    keys: new Uint8Array(count * keyLength),
    valueLength,
    values: new Uint8Array(count * valueLength),
    chain: new Uint16Array(count).fill(65535),
    verdict: new Int32Array(count),
    chains,
    packets: new Float64Array(count),
    bytes: new Float64Array(count),
    comment: new Uint32Array(count),
    comments,
  };
  for (const [row, element] of elements.entries()) {
    writeFields(set.key, element.key, columns.keys, row * keyLength);
    const { value } = element;
    if (value !== undefined && 'verdict' in value) {
      columns.verdict[row] = VERDICT_CODES[value.verdict];
      if ('chain' in value) columns.chain[row] = chainIndex(value.chain);
    } else if (value !== undefined) {
      writeFields(valueTypes, value, columns.values, row * valueLength);
    }
    columns.packets[row] = element.packets;
    columns.bytes[row] = element.bytes;
    if (element.comment !== undefined) columns.comment[row] = commentIndex(element.comment);
  }
  return columns;
}

/** The elements that a batch of columns stands for. */
export function batchElements(set: SetSpec, batch: ElementBatch): Element[] {
  const length = (types: readonly DataType[]): number => types.reduce((sum, type) => sum + width(type), 0);
  const columns: ElementColumns = {
    count: batch.count,
    keyLength: length(set.key),
    keys: batch.keys,
    valueLength: typeof set.value === 'object' ? length(set.value) : 0,
    values: batch.values ?? new Uint8Array(),
    chain: batch.chain ?? new Uint16Array(batch.count).fill(65535),
    verdict: batch.verdict ?? new Int32Array(batch.count),
    chains: batch.chains ?? [],
    packets: new Float64Array(batch.count),
    bytes: new Float64Array(batch.count),
    comment: batch.comment ?? new Uint32Array(batch.count),
    comments: batch.comments ?? [''],
  };
  const elements: Element[] = [];
  forEachElement(set, columns, (element) => elements.push(element));
  return elements;
}
