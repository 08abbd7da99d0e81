/** Path attributes, byte by byte as they are in an UPDATE: RFC 4271 section 4.3, RFC 4760, RFC 1997, RFC 8092, RFC 6793. */
import type { AddressFamily } from '../../model/address.ts';
import type { LargeCommunity } from '../../model/bgp.ts';
import type { Address } from '../../model/cluster.ts';
import { formatAddressBytes } from '../../native/address-bytes.ts';
import { AttributeError } from './attribute-error.ts';
import type { BgpPath } from './daemon.ts';
import { addressBytes, encodePrefix, prefixFamily } from './nlri.ts';

/** Attribute type codes. */
const ORIGIN = 1;
const AS_PATH = 2;
const NEXT_HOP = 3;
const MULTI_EXIT_DISC = 4;
const LOCAL_PREF = 5;
const COMMUNITIES = 8;
const MP_REACH_NLRI = 14;
const LARGE_COMMUNITY = 32;

/** Attribute flags. */
const OPTIONAL = 0x80;
const TRANSITIVE = 0x40;
const EXTENDED_LENGTH = 0x10;

/** ORIGIN: the prefix is interior to the originating autonomous system. */
const ORIGIN_IGP = 0;

/** AS_PATH segment: numbers in the order in which the route passed them, newest first. */
const AS_SEQUENCE = 2;

const AFI_IPV6 = 2;
const SAFI_UNICAST = 1;

/** What of a path's attributes the agent looks at. */
export interface PathAttributes {
  /** Undefined where none is said in a form that is known. */
  readonly nextHop: Address | undefined;
  readonly med: number | undefined;
  readonly localPreference: number | undefined;
  readonly communities: readonly number[];
  readonly largeCommunities: readonly LargeCommunity[];
  /** The autonomous system that the route began in; undefined for an empty path and for one that ends in a set. */
  readonly originAsn: number | undefined;
}

function attribute(flags: number, type: number, value: Uint8Array): Uint8Array {
  if (value.length > 0xffff) throw new TypeError(`attribute ${type} has ${value.length} bytes, 65535 at most`);
  const long = value.length > 0xff;
  const bytes = new Uint8Array((long ? 4 : 3) + value.length);
  bytes[0] = long ? flags | EXTENDED_LENGTH : flags;
  bytes[1] = type;
  if (long) bytes[2] = value.length >> 8;
  bytes[long ? 3 : 2] = value.length & 0xff;
  bytes.set(value, long ? 4 : 3);
  return bytes;
}

/** 32 bits each, in network order. */
function numbers(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => view.setUint32(index * 4, value));
  return bytes;
}

/** RFC 4760 section 3: family, next hop, a reserved byte, prefixes. */
function mpReach(path: BgpPath): Uint8Array {
  const nextHop = addressBytes(path.nextHop);
  return Uint8Array.of(0, AFI_IPV6, SAFI_UNICAST, nextHop.length, ...nextHop, 0, ...encodePrefix(path.prefix));
}

/**
 * One element per attribute, in the order of their type codes (RFC 4271 section 5). AS_PATH is not among them: the daemon
 * begins it.
 * @throws TypeError for a prefix or next hop that is none, and when they are of different families
 */
export function encodeAttributes(path: BgpPath): Uint8Array[] {
  const family = prefixFamily(path.prefix);
  if (addressBytes(path.nextHop).length !== (family === 4 ? 4 : 16))
    throw new TypeError(`${path.nextHop} is no next hop for ${path.prefix}`);
  const list = [attribute(TRANSITIVE, ORIGIN, Uint8Array.of(ORIGIN_IGP))];
  if (family === 4) list.push(attribute(TRANSITIVE, NEXT_HOP, addressBytes(path.nextHop)));
  if (path.med !== undefined) list.push(attribute(OPTIONAL, MULTI_EXIT_DISC, numbers([path.med])));
  if (path.localPreference !== undefined) list.push(attribute(TRANSITIVE, LOCAL_PREF, numbers([path.localPreference])));
  if (path.communities.length > 0) list.push(attribute(OPTIONAL | TRANSITIVE, COMMUNITIES, numbers(path.communities)));
  if (family === 6) list.push(attribute(OPTIONAL, MP_REACH_NLRI, mpReach(path)));
  if (path.largeCommunities.length > 0) {
    list.push(attribute(OPTIONAL | TRANSITIVE, LARGE_COMMUNITY, numbers(path.largeCommunities.flat())));
  }
  return list;
}

/** Type and value; what follows the value is not looked at, there is one attribute in each element. */
function split(bytes: Uint8Array): { readonly type: number; readonly value: DataView } {
  const [flags = 0, type = 0] = bytes;
  const header = (flags & EXTENDED_LENGTH) === 0 ? 3 : 4;
  const [short = 0, low = 0] = bytes.subarray(2);
  const length = header === 3 ? short : short * 0x100 + low;
  if (bytes.length < header + length) throw new AttributeError(`attribute ${type}`, 'ends before its end');
  return { type, value: new DataView(bytes.buffer, bytes.byteOffset + header, length) };
}

function single(name: string, value: DataView): number {
  if (value.byteLength !== 4) throw new AttributeError(name, `${value.byteLength} bytes, 4 expected`);
  return value.getUint32(0);
}

/** Numbers of 32 bits in groups of `group`. */
function several(name: string, value: DataView, group: number): number[] {
  if (value.byteLength % (group * 4) !== 0)
    throw new AttributeError(name, `${value.byteLength} bytes, a multiple of ${group * 4} expected`);
  return Array.from({ length: value.byteLength / 4 }, (_, index) => value.getUint32(index * 4));
}

function address(value: DataView, offset: number, family: AddressFamily): Address {
  return formatAddressBytes(new Uint8Array(value.buffer, value.byteOffset + offset, family === 4 ? 4 : 16), family);
}

function reachable(value: DataView): Address | undefined {
  if (value.byteLength < 5 || value.byteLength < 5 + value.getUint8(3)) throw new AttributeError('MP_REACH_NLRI', 'ends before its end');
  const length = value.getUint8(3);
  // RFC 2545 section 3: a link-local address may follow the global one. RFC 8950: IPv6 next hops of IPv4 prefixes.
  if (length === 16 || length === 32) return address(value, 4, 6);
  return length === 4 ? address(value, 4, 4) : undefined;
}

/** Autonomous system numbers have 32 bits here: the daemon keeps them so for neighbours of either kind (RFC 6793). */
function originOf(value: DataView): number | undefined {
  let origin: number | undefined;
  for (let at = 0; at < value.byteLength;) {
    if (at + 2 > value.byteLength) throw new AttributeError('AS_PATH', 'ends before its end');
    const kind = value.getUint8(at);
    const count = value.getUint8(at + 1);
    const end = at + 2 + count * 4;
    if (end > value.byteLength) throw new AttributeError('AS_PATH', 'ends before its end');
    origin = kind === AS_SEQUENCE && count > 0 ? value.getUint32(end - 4) : undefined;
    at = end;
  }
  return origin;
}

/**
 * From attributes as a daemon lists them, one in each element. What is not known is skipped.
 * @throws AttributeError
 */
export function decodeAttributes(list: readonly Uint8Array[]): PathAttributes {
  let nextHop: Address | undefined;
  let med: number | undefined;
  let localPreference: number | undefined;
  let originAsn: number | undefined;
  let communities: readonly number[] = [];
  let largeCommunities: readonly LargeCommunity[] = [];
  for (const bytes of list) {
    const { type, value } = split(bytes);
    if (type === AS_PATH) originAsn = originOf(value);
    else if (type === NEXT_HOP) {
      if (value.byteLength !== 4) throw new AttributeError('NEXT_HOP', `${value.byteLength} bytes, 4 expected`);
      nextHop = address(value, 0, 4);
    } else if (type === MULTI_EXIT_DISC) med = single('MULTI_EXIT_DISC', value);
    else if (type === LOCAL_PREF) localPreference = single('LOCAL_PREF', value);
    else if (type === COMMUNITIES) communities = several('COMMUNITIES', value, 1);
    else if (type === MP_REACH_NLRI) nextHop = reachable(value);
    else if (type === LARGE_COMMUNITY) largeCommunities = triples(several('LARGE_COMMUNITY', value, 3));
  }
  return { nextHop, med, localPreference, communities, largeCommunities, originAsn };
}

function triples(values: readonly number[]): LargeCommunity[] {
  return Array.from({ length: values.length / 3 }, (_, index) => {
    const [administrator = 0, first = 0, second = 0] = values.slice(index * 3, index * 3 + 3);
    return [administrator, first, second] as const;
  });
}
