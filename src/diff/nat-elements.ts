/** Elements of our sets out of columns: fields in set order, each padded to 4 bytes as in the kernel's registers. */
import type { DataType, Element, ElementColumns, FieldValue, SetSpec, Verdict } from '../native/nftables-types.ts';

/** `numgen` and marks are u32 in the host's byte order; everything from a packet is in network order. */
const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** NFT_GOTO, NFT_JUMP of linux/netfilter/nf_tables.h; NF_DROP and NF_ACCEPT of linux/netfilter.h; NFT_RETURN. */
const VERDICTS = new Map<number, Verdict['verdict']>([
  [-4, 'goto'],
  [-3, 'jump'],
  [-5, 'return'],
  [0, 'drop'],
  [1, 'accept'],
]);

/** {@link ElementColumns.chain} of a verdict without a target. */
const NO_CHAIN = 65535;

function ipv4(bytes: Uint8Array, offset: number): string {
  return `${bytes[offset] ?? 0}.${bytes[offset + 1] ?? 0}.${bytes[offset + 2] ?? 0}.${bytes[offset + 3] ?? 0}`;
}

/** One field of four bytes. The tables of the agent are IPv4 only, so wider fields do not occur. */
function field(type: DataType, bytes: Uint8Array, view: DataView, offset: number): FieldValue {
  switch (type) {
    case 'ipv4_addr':
      return ipv4(bytes, offset);
    case 'inet_proto':
      return bytes[offset] ?? 0;
    case 'inet_service':
      return view.getUint16(offset, false);
    case 'slot':
    case 'mark':
      return view.getUint32(offset, LITTLE_ENDIAN);
    case 'ipv6_addr':
      throw new RangeError('an IPv6 field in a table of family ip');
  }
}

function fields(types: readonly DataType[], bytes: Uint8Array, view: DataView, start: number): FieldValue[] {
  return types.map((type, at) => field(type, bytes, view, start + at * 4));
}

function verdictAt(columns: ElementColumns, row: number): Verdict {
  const name = VERDICTS.get(columns.verdict[row] ?? 0);
  const target = columns.chain[row] ?? NO_CHAIN;
  if (name === 'goto' || name === 'jump') return { verdict: name, chain: target === NO_CHAIN ? '' : (columns.chains[target] ?? '') };
  return { verdict: name ?? 'drop' };
}

/** Calls `visit` for each element, in the order of the columns. */
export function forEachElement(set: SetSpec, columns: ElementColumns, visit: (element: Element) => void): void {
  const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const keys = view(columns.keys);
  const values = view(columns.values);
  for (let row = 0; row < columns.count; row++) {
    const comment = columns.comments[columns.comment[row] ?? 0] ?? '';
    visit({
      key: fields(set.key, columns.keys, keys, row * columns.keyLength),
      ...(set.value === 'verdict' ? { value: verdictAt(columns, row) } : {}),
      ...(typeof set.value === 'object' ? { value: fields(set.value, columns.values, values, row * columns.valueLength) } : {}),
      ...(comment !== '' && (columns.comment[row] ?? 0) !== 0 ? { comment } : {}),
    });
  }
}
