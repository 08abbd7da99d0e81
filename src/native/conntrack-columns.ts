/**
 * Entries of the connection tracking table between columns and objects. The order of the columns is that
 * of native/conntrack_columns.cc: widest elements first.
 */
import { addressFamily, formatAddressBytes, writeAddress } from './address-bytes.ts';
import type { ConntrackColumns, ConntrackDestination, ConntrackEndpoint, ConntrackEntry } from './conntrack-types.ts';
import { PROTOCOL_NAME, PROTOCOL_NUMBER } from './ipvs-constants.ts';

/** Bytes of one entry over all columns (kBytesPerEntry). */
const ENTRY_SIZE = 93;
/** sizeof(DestinationRecord) in native/conntrack.h. */
const DESTINATION_SIZE = 20;

const littleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

const words = ['id', 'status', 'mark', 'timeout'] as const;
const halves = ['originalSourcePort', 'originalDestinationPort', 'replySourcePort', 'replyDestinationPort', 'zone'] as const;
const bytes = ['family', 'protocol', 'zoneDirections'] as const;
const addresses = ['originalSource', 'originalDestination', 'replySource', 'replyDestination'] as const;

/** Position of each kind in {@link ConntrackEntry.zoneDirection}'s bits. */
const zoneBits = { original: 1, reply: 2, both: 3 } as const;

/** Cuts the addon's block. RangeError when it is not a whole number of entries. */
export function cutColumns(buffer: ArrayBuffer): ConntrackColumns {
  const count = buffer.byteLength / ENTRY_SIZE;
  if (!Number.isInteger(count)) throw new RangeError(`entries: ${String(buffer.byteLength)} bytes are no whole number of entries`);
  let at = 0;
  const take = <Column>(make: (offset: number) => Column, size: number): Column => {
    const column = make(at);
    at += count * size;
    return column;
  };
  const word = () => take((offset) => new Uint32Array(buffer, offset, count), 4);
  const half = () => take((offset) => new Uint16Array(buffer, offset, count), 2);
  const byte = (width = 1) => take((offset) => new Uint8Array(buffer, offset, count * width), width);
  // Evaluated in the order in which they are written.
  return {
    count,
    id: word(),
    status: word(),
    mark: word(),
    timeout: word(),
    originalSourcePort: half(),
    originalDestinationPort: half(),
    replySourcePort: half(),
    replyDestinationPort: half(),
    zone: half(),
    family: byte(),
    protocol: byte(),
    zoneDirections: byte(),
    originalSource: byte(16),
    originalDestination: byte(16),
    replySource: byte(16),
    replyDestination: byte(16),
  };
}

/** The block under columns. TypeError when they are not those of {@link cutColumns}: their bytes would be read as other entries. */
export function blockOf(columns: ConntrackColumns): ArrayBuffer {
  if (typeof columns !== 'object' || (columns as unknown) === null || !(columns.id instanceof Uint32Array)) {
    throw new TypeError('entries: expected the columns that entries() gave');
  }
  const { buffer } = columns.id;
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength % ENTRY_SIZE !== 0) {
    throw new TypeError('entries.id: expected the columns that entries() gave');
  }
  const right = cutColumns(buffer);
  if (columns.count !== right.count) throw new TypeError(`entries.count: expected ${String(right.count)}, got ${String(columns.count)}`);
  for (const name of [...words, ...halves, ...bytes, ...addresses]) {
    const [column, expected] = [columns[name] as Partial<Uint8Array> | undefined, right[name]];
    const same = column?.buffer === buffer && column.byteOffset === expected.byteOffset && column.byteLength === expected.byteLength;
    if (!same) throw new TypeError(`entries.${name}: expected the columns that entries() gave`);
  }
  return buffer;
}

const socketText = ({ address, port }: ConntrackEndpoint): string =>
  address.includes(':') ? `[${address}]:${String(port)}` : `${address}:${String(port)}`;

/**
 * Row `row` as an object, for people and small numbers: a million objects hold the event loop for seconds.
 * RangeError when there is no such row.
 */
export function conntrackEntryAt(columns: ConntrackColumns, row: number): ConntrackEntry {
  if (!Number.isInteger(row) || row < 0 || row >= columns.count) {
    throw new RangeError(`row ${String(row)} is not in 0..${String(columns.count - 1)}`);
  }
  const family = columns.family[row] === 6 ? 6 : 4;
  const number = (column: { readonly [index: number]: number | undefined }): number => column[row] ?? 0;
  const end = (column: Uint8Array, ports: Uint16Array): ConntrackEndpoint => ({
    address: formatAddressBytes(column, family, row * 16),
    port: number(ports),
  });
  const directions = number(columns.zoneDirections);
  return {
    protocol: PROTOCOL_NAME.get(number(columns.protocol)) ?? 'udp',
    original: {
      source: end(columns.originalSource, columns.originalSourcePort),
      destination: end(columns.originalDestination, columns.originalDestinationPort),
    },
    reply: {
      source: end(columns.replySource, columns.replySourcePort),
      destination: end(columns.replyDestination, columns.replyDestinationPort),
    },
    id: number(columns.id),
    status: number(columns.status),
    mark: number(columns.mark),
    timeoutSeconds: number(columns.timeout),
    zone: number(columns.zone),
    zoneDirection: directions === zoneBits.original ? 'original' : directions === zoneBits.reply ? 'reply' : 'both',
  };
}

/** `udp 203.0.113.9:5353 -> 192.0.2.10:53 (answered by 10.1.2.3:53)`: an entry for people. */
export function conntrackText({ protocol, original, reply }: ConntrackEntry): string {
  const answers = socketText(reply.source);
  const text = `${protocol} ${socketText(original.source)} -> ${socketText(original.destination)}`;
  return answers === socketText(original.destination) ? text : `${text} (answered by ${answers})`;
}

/** The columns of entries, as {@link ConntrackPort.remove} takes them. RangeError names what is no address, port or number. */
export function conntrackColumns(entries: readonly ConntrackEntry[]): ConntrackColumns {
  const columns = cutColumns(new ArrayBuffer(entries.length * ENTRY_SIZE));
  for (const [row, entry] of entries.entries()) {
    const path = `entries[${String(row)}]`;
    const protocol = PROTOCOL_NUMBER[entry.protocol] as number | undefined;
    if (protocol === undefined) throw new RangeError(`${path}.protocol: expected tcp, udp or sctp, got ${JSON.stringify(entry.protocol)}`);
    const family = addressFamily(entry.original.source.address);
    const put = (column: Uint8Array, ports: Uint16Array, { address, port }: ConntrackEndpoint, where: string): void => {
      if (writeAddress(address, column, row * 16) !== family) throw new RangeError(`${path}.${where}.address: ${JSON.stringify(address)}`);
      ports[row] = checkedPort(port, 0, `${path}.${where}.port`);
    };
    put(columns.originalSource, columns.originalSourcePort, entry.original.source, 'original.source');
    put(columns.originalDestination, columns.originalDestinationPort, entry.original.destination, 'original.destination');
    put(columns.replySource, columns.replySourcePort, entry.reply.source, 'reply.source');
    put(columns.replyDestination, columns.replyDestinationPort, entry.reply.destination, 'reply.destination');
    columns.family[row] = family ?? 0;
    columns.protocol[row] = protocol;
    columns.id[row] = entry.id;
    columns.status[row] = entry.status;
    columns.mark[row] = entry.mark;
    columns.timeout[row] = entry.timeoutSeconds;
    columns.zone[row] = entry.zone;
    columns.zoneDirections[row] = entry.zone === 0 ? 0 : zoneBits[entry.zoneDirection];
  }
  return columns;
}

/**
 * What an address and a port are found by: a number where that is exact (IPv4: address * 65536 + port), else a
 * text. Two ends are the same when this is.
 */
export type SocketKey = number | string;

function keyAt(column: Uint8Array, ports: Uint16Array, family: number | undefined, row: number): SocketKey {
  const at = row * 16;
  const port = ports[row] ?? 0;
  if (family === 6) return socketText({ address: formatAddressBytes(column, 6, at), port });
  const octet = (k: number): number => column[at + k] ?? 0;
  return octet(0) * 0x10000000000 + ((octet(1) << 16) | (octet(2) << 8) | octet(3)) * 0x10000 + port;
}

const scratch = new Uint8Array(16);

/** RangeError when the address is none. */
export function socketKey({ address, port }: ConntrackEndpoint): SocketKey {
  const family = writeAddress(address, scratch);
  if (family === 0) throw new RangeError(`not an IP address: ${JSON.stringify(address)}`);
  return keyAt(scratch, Uint16Array.of(port), family, 0);
}

/** Where the flow of a row was going. Does not check the row. */
export function destinationSocketAt(columns: ConntrackColumns, row: number): SocketKey {
  return keyAt(columns.originalDestination, columns.originalDestinationPort, columns.family[row], row);
}

/** Who answers the flow of a row. Does not check the row. */
export function answerSocketAt(columns: ConntrackColumns, row: number): SocketKey {
  return keyAt(columns.replySource, columns.replySourcePort, columns.family[row], row);
}

function checkedPort(port: number, least: number, path: string): number {
  if (!Number.isInteger(port) || port < least || port > 0xffff) {
    throw new RangeError(`${path}: expected a port from ${String(least)} to 65535, got ${String(port)}`);
  }
  return port;
}

/** Destinations as the addon takes them; TypeError or RangeError names the one that is wrong. */
export function packDestinations(destinations: readonly ConntrackDestination[]): ArrayBuffer {
  if (!Array.isArray(destinations)) throw new TypeError('destinations: expected an array');
  const buffer = new ArrayBuffer(destinations.length * DESTINATION_SIZE);
  const view = new DataView(buffer);
  const octets = new Uint8Array(buffer);
  for (const [index, destination] of destinations.entries()) {
    const path = `destinations[${String(index)}]`;
    const given = destination as Partial<ConntrackDestination> | null | undefined;
    if (typeof given !== 'object' || given === null) throw new TypeError(`${path}: expected an object`);
    const at = index * DESTINATION_SIZE;
    const family = typeof given.address === 'string' ? writeAddress(given.address, octets, at) : 0;
    if (family === 0) throw new RangeError(`${path}.address: not an IP address: ${String(given.address)}`);
    // The parser may have left its attempt at another family behind.
    if (family === 4) octets.fill(0, at + 4, at + 16);
    if (given.port !== undefined) view.setUint16(at + 16, checkedPort(given.port, 1, `${path}.port`), littleEndian);
    view.setUint8(at + 18, family);
  }
  return buffer;
}
