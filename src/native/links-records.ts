/**
 * The records of native/links.h between bytes and objects. Numbers are in host order, as the addon
 * copies its structs; offsets stand beside their fields.
 */
import { formatAddressBytes, writeAddress } from './address-bytes.ts';
import type { AddressFamily } from './address-bytes.ts';
import type { InterfaceAddress, Link, LinkOperation, Neighbour, Route, RouteTo, TunnelKind } from './link-types.ts';

/** IFF_* (linux/if.h). */
const IFF_UP = 0x1;
const IFF_RUNNING = 0x40;
const IFF_NOARP = 0x80;
/** IFA_F_* (linux/if_addr.h). */
const IFA_F_NODAD = 0x02;
const IFA_F_NOPREFIXROUTE = 0x200;
/** RTPROT_STATIC and RT_TABLE_MAIN (linux/rtnetlink.h). */
const RTPROT_STATIC = 4;
const RT_TABLE_MAIN = 254;

const ADDRESS_SIZE = 36;
const ROUTE_SIZE = 52;
const NEIGHBOUR_SIZE = 56;
const ROUTE_TO_SIZE = 44;
const OPERATION_SIZE = 72;

const littleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** RT_SCOPE_* by value. */
const scopes: Readonly<Record<number, InterfaceAddress['scope']>> = {
  0: 'universe',
  200: 'site',
  253: 'link',
  254: 'host',
  255: 'nowhere',
};

/** TunnelKindCode of native/links.h. */
const tunnelKinds: Readonly<Record<TunnelKind, number>> = { ipip: 1, ip6tnl: 2, gre: 3, ip6gre: 4 };

/** What the addon gives for a link. */
export interface RawLink {
  readonly index: number;
  readonly flags: number;
  readonly mtu: number;
  readonly name: string;
  readonly kind: string;
  readonly hardware: Uint8Array;
}

const family = (number: number): AddressFamily => (number === 4 ? 4 : 6);

/** Colon-separated lower-case hexadecimal; empty for no bytes. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

export function linkOf(raw: RawLink): Link {
  return {
    index: raw.index,
    name: raw.name,
    kind: raw.kind === '' ? undefined : raw.kind,
    mac: formatMac(raw.hardware),
    mtu: raw.mtu,
    up: (raw.flags & IFF_UP) !== 0,
    running: (raw.flags & IFF_RUNNING) !== 0,
    noArp: (raw.flags & IFF_NOARP) !== 0,
  };
}

function rows<Row>(buffer: ArrayBuffer, size: number, read: (view: DataView, bytes: Uint8Array, at: number) => Row): Row[] {
  const view = new DataView(buffer);
  const bytes = new Uint8Array(buffer);
  return Array.from({ length: buffer.byteLength / size }, (_, row) => read(view, bytes, row * size));
}

export function addressesOf(buffer: ArrayBuffer): InterfaceAddress[] {
  return rows(buffer, ADDRESS_SIZE, (view, bytes, at) => ({
    interfaceIndex: view.getUint32(at, littleEndian),
    address: formatAddressBytes(bytes, family(view.getUint8(at + 4)), at + 8),
    prefix: view.getUint8(at + 5),
    protocol: view.getUint8(at + 7),
    // Values between the named ones are legal and rare; the nearest wider name is right for them.
    scope: scopes[view.getUint8(at + 6)] ?? 'universe',
    flags: view.getUint32(at + 24, littleEndian),
    validSeconds: view.getUint32(at + 28, littleEndian),
    preferredSeconds: view.getUint32(at + 32, littleEndian),
  }));
}

export function routesOf(buffer: ArrayBuffer): Route[] {
  return rows(buffer, ROUTE_SIZE, (view, bytes, at) => {
    const destination = family(view.getUint8(at));
    const gateway = view.getUint8(at + 5);
    const index = view.getUint32(at + 8, littleEndian);
    return {
      family: destination === 4 ? 'ipv4' : 'ipv6',
      destination: formatAddressBytes(bytes, destination, at + 20),
      prefix: view.getUint8(at + 1),
      gateway: gateway === 0 ? undefined : formatAddressBytes(bytes, family(gateway), at + 36),
      interfaceIndex: index === 0 ? undefined : index,
      table: view.getUint32(at + 12, littleEndian),
      protocol: view.getUint8(at + 2),
      metric: view.getUint32(at + 16, littleEndian),
      type: view.getUint8(at + 3),
      scope: view.getUint8(at + 4),
    };
  });
}

export function neighboursOf(buffer: ArrayBuffer): Neighbour[] {
  return rows(buffer, NEIGHBOUR_SIZE, (view, bytes, at) => ({
    interfaceIndex: view.getUint32(at, littleEndian),
    address: formatAddressBytes(bytes, family(view.getUint8(at + 4)), at + 8),
    mac: formatMac(bytes.subarray(at + 24, at + 24 + view.getUint8(at + 5))),
    state: view.getUint16(at + 6, littleEndian),
  }));
}

/** RouteToRecord of native/links.h; undefined when the buffer holds none. */
export function routeToOf(buffer: ArrayBuffer): RouteTo | undefined {
  return rows(buffer, ROUTE_TO_SIZE, (view, bytes, at) => {
    const text = (number: number, offset: number): string | undefined =>
      number === 0 ? undefined : formatAddressBytes(bytes, family(number), at + offset);
    return {
      interfaceIndex: view.getUint32(at, littleEndian),
      mtu: view.getUint32(at + 4, littleEndian),
      gateway: text(view.getUint8(at + 8), 12),
      source: text(view.getUint8(at + 9), 28),
    };
  })[0];
}

/** `192.0.2.10/32 on ravel0`, `198.51.100.0/24 via 192.0.2.1`, `ravel0`: the subject of an operation's error. */
export function describeLinkOperation(operation: LinkOperation): string {
  switch (operation.op) {
    case 'addDummy':
    case 'addTunnel':
    case 'deleteLink':
    case 'setLink':
      return operation.name;
    case 'addAddress':
    case 'deleteAddress':
      return `${operation.address}/${operation.prefix} on ${operation.interface}`;
    case 'addRoute':
    case 'deleteRoute': {
      const via = operation.gateway === undefined ? '' : ` via ${operation.gateway}`;
      const on = operation.interface === undefined ? '' : ` on ${operation.interface}`;
      return `${operation.destination}/${operation.prefix}${via}${on}`;
    }
  }
}

/** Operations as the addon takes them. */
export interface PackedOperations {
  readonly bytes: ArrayBuffer;
  /** Interface names; index 0 is "". */
  readonly names: readonly string[];
}

function integer(value: number | undefined, otherwise: number, most: number, path: string): number {
  const number = value ?? otherwise;
  if (!Number.isInteger(number) || number < 0 || number > most) {
    throw new RangeError(`${path}: expected an integer from 0 to ${most}, got ${String(number)}`);
  }
  return number;
}

const MAX_U32 = 0xffff_ffff;

/** Writes one operation at `at`; RangeError or TypeError names the field that is wrong. */
class OperationWriter {
  readonly bytes: ArrayBuffer;
  readonly #view: DataView;
  readonly #octets: Uint8Array;
  readonly #names = new Map<string, number>([['', 0]]);

  constructor(count: number) {
    this.bytes = new ArrayBuffer(count * OPERATION_SIZE);
    this.#view = new DataView(this.bytes);
    this.#octets = new Uint8Array(this.bytes);
  }

  get names(): readonly string[] {
    return [...this.#names.keys()];
  }

  #name(at: number, name: string, path: string): void {
    // dev_valid_name(): 1 to 15 bytes, no slash, colon or blank; a single or double dot is refused too.
    if (typeof name !== 'string' || !/^[^\s/:\0]{1,15}$/.test(name) || Buffer.byteLength(name) > 15 || name === '.' || name === '..') {
      throw new RangeError(`${path}: not an interface name: ${JSON.stringify(name)}`);
    }
    const known = this.#names.get(name);
    const index = known ?? this.#names.size;
    if (known === undefined) this.#names.set(name, index);
    this.#view.setUint32(at + 4, index, littleEndian);
  }

  /** Address at `offset`, its family returned. */
  #address(at: number, offset: number, text: string, path: string): AddressFamily {
    const number = typeof text === 'string' ? writeAddress(text, this.#octets, at + offset) : 0;
    if (number === 0) throw new RangeError(`${path}: not an IP address: ${JSON.stringify(text)}`);
    return number;
  }

  #prefixed(at: number, text: string, prefix: number, path: string, field: string): AddressFamily {
    const number = this.#address(at, 40, text, `${path}.${field}`);
    this.#view.setUint8(at + 1, number);
    const most = number === 4 ? 32 : 128;
    this.#view.setUint8(at + 2, integer(prefix, most, most, `${path}.prefix`));
    return number;
  }

  #u32(at: number, offset: number, value: number): void {
    this.#view.setUint32(at + offset, value, littleEndian);
  }

  #linkFlags(at: number, up: boolean | undefined, noArp: boolean | undefined): void {
    this.#u32(at, 8, (up === true ? IFF_UP : 0) | (noArp === true ? IFF_NOARP : 0));
    this.#u32(at, 12, (up === undefined ? 0 : IFF_UP) | (noArp === undefined ? 0 : IFF_NOARP));
  }

  write(row: number, operation: LinkOperation): void {
    const at = row * OPERATION_SIZE;
    const path = `operations[${row}]`;
    const code = (value: number) => this.#view.setUint8(at, value);
    switch (operation.op) {
      case 'addDummy':
        code(1);
        this.#name(at, operation.name, `${path}.name`);
        this.#linkFlags(at, operation.up ?? true, operation.noArp ?? true);
        this.#u32(at, 16, integer(operation.mtu, 0, MAX_U32, `${path}.mtu`));
        return;
      case 'addTunnel':
        code(8);
        this.#name(at, operation.name, `${path}.name`);
        if (!Object.hasOwn(tunnelKinds, operation.kind)) {
          throw new RangeError(`${path}.kind: expected ${Object.keys(tunnelKinds).join(', ')}, got ${JSON.stringify(operation.kind)}`);
        }
        this.#view.setUint8(at + 37, tunnelKinds[operation.kind]);
        this.#linkFlags(at, operation.up ?? true, undefined);
        return;
      case 'deleteLink':
        code(2);
        this.#name(at, operation.name, `${path}.name`);
        return;
      case 'setLink':
        code(3);
        this.#name(at, operation.name, `${path}.name`);
        this.#linkFlags(at, operation.up, operation.noArp);
        this.#u32(at, 16, integer(operation.mtu, 0, MAX_U32, `${path}.mtu`));
        return;
      case 'addAddress':
      case 'deleteAddress':
        code(operation.op === 'addAddress' ? 4 : 5);
        this.#name(at, operation.interface, `${path}.interface`);
        this.#addressFields(at, operation, this.#prefixed(at, operation.address, operation.prefix, path, 'address'), path);
        return;
      case 'addRoute':
      case 'deleteRoute':
        code(operation.op === 'addRoute' ? 6 : 7);
        if (operation.interface !== undefined) this.#name(at, operation.interface, `${path}.interface`);
        this.#prefixed(at, operation.destination, operation.prefix, path, 'destination');
        this.#routeFields(at, operation, path);
        return;
      default:
        throw new TypeError(`${path}.op: unknown operation ${JSON.stringify((operation as { op: unknown }).op)}`);
    }
  }

  #addressFields(at: number, operation: LinkOperation & { op: 'addAddress' | 'deleteAddress' }, number: AddressFamily, path: string): void {
    if (operation.op === 'deleteAddress') return;
    const host = operation.prefix === (number === 4 ? 32 : 128);
    const flags = ((operation.noPrefixRoute ?? host) ? IFA_F_NOPREFIXROUTE : 0) | (operation.noDad === true ? IFA_F_NODAD : 0);
    this.#u32(at, 8, flags);
    this.#view.setUint8(at + 3, integer(operation.protocol, 0, 255, `${path}.protocol`));
    for (const [field, offset] of [
      ['validSeconds', 20],
      ['preferredSeconds', 24],
    ] as const) {
      const value = operation[field];
      // inet6_addr_add() takes an address that is never preferred, nobody one that is never valid.
      if (value === 0 && (field === 'validSeconds' || number === 4)) {
        throw new RangeError(`${path}.${field}: expected an integer from 1 to ${MAX_U32}, got 0`);
      }
      if (value === 0) this.#view.setUint8(at + 38, 1);
      this.#u32(at, offset, integer(value, 0, MAX_U32, `${path}.${field}`));
    }
  }

  #routeFields(at: number, operation: LinkOperation & { op: 'addRoute' | 'deleteRoute' }, path: string): void {
    const otherwise = operation.op === 'addRoute' ? RTPROT_STATIC : 0;
    this.#view.setUint8(at + 3, integer(operation.protocol, otherwise, 255, `${path}.protocol`));
    this.#u32(at, 28, integer(operation.table, RT_TABLE_MAIN, MAX_U32, `${path}.table`));
    this.#u32(at, 32, integer(operation.metric, 0, MAX_U32, `${path}.metric`));
    if (operation.gateway !== undefined) {
      this.#view.setUint8(at + 36, this.#address(at, 56, operation.gateway, `${path}.gateway`));
    }
  }
}

/** The operations as bytes. RangeError or TypeError names the field that is wrong: `operations[3].prefix`. */
export function packOperations(operations: readonly LinkOperation[]): PackedOperations {
  const writer = new OperationWriter(operations.length);
  operations.forEach((operation, row) => {
    writer.write(row, operation);
  });
  return { bytes: writer.bytes, names: writer.names };
}
