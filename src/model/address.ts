/** IP addresses and prefixes as the model keeps them: canonical text (RFC 5952), compared as numbers. */
import { addressFamily, canonicalAddress, formatAddressBytes, writeAddress } from '../native/address-bytes.ts';
import type { AddressFamily } from '../native/address-bytes.ts';
import type { Address } from './cluster.ts';

export { addressFamily, canonicalAddress };
export type { AddressFamily };

export interface Prefix {
  /** Host bits cleared. */
  readonly address: Address;
  readonly prefix: number;
}

/** What an address may be used for; everything but `unicast` is useless as a VIP or a node address. */
export type AddressKind = 'unicast' | 'unspecified' | 'loopback' | 'multicast' | 'broadcast' | 'link-local' | 'mapped';

// One pair for the whole module: nothing here calls back or waits while they are in use.
const left = new Uint8Array(16);
const right = new Uint8Array(16);

/** Clears the bits after the first `prefix` ones. */
function mask(bytes: Uint8Array, length: number, prefix: number): void {
  for (let index = 0; index < length; index++) {
    const kept = Math.min(8, Math.max(0, prefix - index * 8));
    bytes[index] = (bytes[index] ?? 0) & (0xff << (8 - kept)) & 0xff;
  }
}

/** `10.0.0.0/8`; undefined when the text is no address, a slash and a decimal length that fits the family. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const digits = text.slice(slash + 1);
  const family = writeAddress(text.slice(0, slash), left);
  if (family === 0 || !/^(?:0|[1-9][0-9]{0,2})$/.test(digits)) return undefined;
  const prefix = Number(digits);
  const length = family === 4 ? 4 : 16;
  if (prefix > length * 8) return undefined;
  mask(left, length, prefix);
  return { address: formatAddressBytes(left, family), prefix };
}

/** Whether a valid address lies inside the prefix; false across families. */
export function prefixContains(prefix: Prefix, address: Address): boolean {
  const family = writeAddress(address, left);
  if (family === 0 || family !== writeAddress(prefix.address, right)) return false;
  const length = family === 4 ? 4 : 16;
  mask(left, length, prefix.prefix);
  return left.subarray(0, length).every((byte, index) => byte === right[index]);
}

/** IPv4 before IPv6, then by number. Both must be valid addresses. */
export function compareAddresses(a: Address, b: Address): number {
  const family = writeAddress(a, left);
  const other = writeAddress(b, right);
  if (family !== other) return family - other;
  const length = family === 4 ? 4 : 16;
  for (let index = 0; index < length; index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** A copy in the order of {@link compareAddresses}, each address once. */
export function sortAddresses(addresses: Iterable<Address>): Address[] {
  return [...new Set(addresses)].sort(compareAddresses);
}

/** The kind of a valid address. */
export function addressKind(address: Address): AddressKind {
  const family = writeAddress(address, left);
  const [first = 0, second = 0, third = 0, fourth = 0] = left;
  if (family === 4) {
    // RFC 1122 section 3.2.1.3: "this network", never a destination.
    if (first === 0) return 'unspecified';
    if (first === 127) return 'loopback';
    if (first >= 224 && first <= 239) return 'multicast';
    return (first & second & third & fourth) === 255 ? 'broadcast' : 'unicast';
  }
  if (first === 0xff) return 'multicast';
  // fe80::/10 means nothing without the interface it belongs to (RFC 4007).
  if (first === 0xfe && (second & 0xc0) === 0x80) return 'link-local';
  if (left.subarray(0, 10).some((byte) => byte !== 0)) return 'unicast';
  // RFC 4291 section 2.5.5.2: an IPv4 address in IPv6 clothes; sockets use it, packets do not.
  if (left[10] === 0xff && left[11] === 0xff) return 'mapped';
  if (left.subarray(10, 15).some((byte) => byte !== 0)) return 'unicast';
  return left[15] === 0 ? 'unspecified' : left[15] === 1 ? 'loopback' : 'unicast';
}
