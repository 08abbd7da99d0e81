/** Elements from columns to objects. */
import { formatAddressBytes } from './address-bytes.ts';
import type { DataType, Element, ElementBatch, ElementColumns, FieldValue, SetSpec, Verdict } from './nftables-types.ts';
import { columnWidth, fieldWidth, HOST_LITTLE_ENDIAN, NO_CHAIN, verdictOf } from './nftables-vocabulary.ts';

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function readField(type: DataType, bytes: Uint8Array, view: DataView, at: number): FieldValue {
  if (type === 'ipv4_addr') return formatAddressBytes(bytes, 4, at);
  if (type === 'ipv6_addr') return formatAddressBytes(bytes, 6, at);
  if (type === 'inet_proto') return bytes[at] ?? 0;
  return type === 'inet_service' ? view.getUint16(at, false) : view.getUint32(at, HOST_LITTLE_ENDIAN);
}

function readFields(types: readonly DataType[], bytes: Uint8Array, view: DataView, start: number): FieldValue[] {
  let at = start;
  return types.map((type) => {
    const value = readField(type, bytes, view, at);
    at += fieldWidth(type);
    return value;
  });
}

/** Reads rows one after another: what all of them have in common is worked out once. */
function reader(set: SetSpec, columns: ElementBatch, unknown: (code: number, row: number) => Verdict): (row: number) => Element {
  const keyWidth = columnWidth(set.key);
  const keys = viewOf(columns.keys);
  const types = set.value === 'verdict' ? undefined : set.value;
  const valueWidth = columnWidth(types ?? []);
  const { values } = columns;
  const valueView = values === undefined ? undefined : viewOf(values);
  return (row) => {
    const key = readFields(set.key, columns.keys, keys, row * keyWidth);
    const text = columns.comments?.[columns.comment?.[row] ?? 0] ?? '';
    const comment = (columns.comment?.[row] ?? 0) === 0 || text === '' ? {} : { comment: text };
    if (set.value === 'verdict') {
      const target = columns.chain?.[row] ?? NO_CHAIN;
      const code = columns.verdict?.[row] ?? 0;
      return { key, value: verdictOf(code, columns.chains?.[target] ?? '') ?? unknown(code, row), ...comment };
    }
    if (types === undefined || values === undefined || valueView === undefined) return { key, ...comment };
    return { key, value: readFields(types, values, valueView, row * valueWidth), ...comment };
  };
}

function refuse(code: number, row: number): never {
  throw new RangeError(`row ${row}: verdict ${code} is not one of ours`);
}

/** Row `row` of columns as an object; the set says what the bytes mean. RangeError outside the columns. */
export function elementAt(set: SetSpec, columns: ElementBatch, row: number): Element {
  if (!Number.isInteger(row) || row < 0 || row >= columns.count) throw new RangeError(`row ${row}: not in 0..${columns.count - 1}`);
  return reader(set, columns, refuse)(row);
}

/** Calls `visit` for each element, in the order of the columns. A verdict that is not one of ours, such as `continue`, comes as `drop`. */
export function forEachElement(set: SetSpec, columns: ElementBatch | ElementColumns, visit: (element: Element, row: number) => void): void {
  const read = reader(set, columns, () => ({ verdict: 'drop' }));
  for (let row = 0; row < columns.count; row++) visit(read(row), row);
}

/** All elements of columns as objects: for small sets and for tests. */
export function toElements(set: SetSpec, columns: ElementBatch | ElementColumns): Element[] {
  const read = reader(set, columns, refuse);
  return Array.from({ length: columns.count }, (_, row) => read(row));
}
