/**
 * IPVS snapshots between columns, objects and keys. Columns are what the kernel's dump becomes at
 * scale; objects are for people and tests; keys are how rows find their match in a diff.
 */
import { formatAddressBytes, writeAddress } from './address-bytes.ts';
import {
  FLAG_ONE_PACKET,
  FLAG_PERSISTENT,
  FLAG_SCHEDULER_1,
  FORWARDING_METHODS,
  FORWARDING_NUMBER,
  PROTOCOL_NAME,
  PROTOCOL_NUMBER,
  TUNNEL_CHECKSUM,
  TUNNEL_NUMBER,
  TUNNEL_TYPES,
} from './ipvs-constants.ts';
import { ProtocolError } from './errors.ts';
import type {
  Destination,
  DestinationColumns,
  DestinationId,
  DestinationSpec,
  IpvsSnapshot,
  Service,
  ServiceColumns,
  ServiceId,
  ServiceSpec,
  Statistics,
} from './ipvs-types.ts';

/** Values a row of a {@link StatisticsColumn} has. */
export const STATISTICS_STRIDE = 10;

export const NO_STATISTICS: Statistics = {
  connections: 0,
  inPackets: 0,
  outPackets: 0,
  inBytes: 0,
  outBytes: 0,
  connectionsPerSecond: 0,
  inPacketsPerSecond: 0,
  outPacketsPerSecond: 0,
  inBytesPerSecond: 0,
  outBytesPerSecond: 0,
};

function socketText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${String(port)}` : `${address}:${String(port)}`;
}

/**
 * The text that names a virtual service: `tcp 192.0.2.10:80`, `udp [2001:db8::1]:53`,
 * `fwmark 7 ipv4`. The address is taken as it is: give it in canonical form.
 */
export function serviceKey(id: ServiceId): string {
  if ('fwmark' in id) return `fwmark ${String(id.fwmark)} ${id.family}`;
  return `${id.protocol} ${socketText(id.address, id.port)}`;
}

/** `10.1.2.3:80`, `[2001:db8::1]:80`. The address is taken as it is: give it in canonical form. */
export function destinationKey(id: DestinationId): string {
  return socketText(id.address, id.port);
}

function familyAt(columns: { readonly family: Uint8Array }, row: number): 4 | 6 {
  return columns.family[row] === 6 ? 6 : 4;
}

function at(column: { readonly [row: number]: number | undefined }, row: number): number {
  return column[row] ?? 0;
}

function checkRow(count: number, row: number): void {
  if (!Number.isInteger(row) || row < 0 || row >= count) throw new RangeError(`row ${String(row)} is not in 0..${String(count - 1)}`);
}

/** The id of service row `row`. An IPPROTO that IPVS does not know is a {@link ProtocolError}. */
export function serviceIdAt(snapshot: IpvsSnapshot, row: number): ServiceId {
  const columns = snapshot.services;
  checkRow(columns.count, row);
  const family = familyAt(columns, row);
  const protocolNumber = at(columns.protocol, row);
  if (protocolNumber === 0) return { fwmark: at(columns.fwmark, row), family: family === 4 ? 'ipv4' : 'ipv6' };
  const protocol = PROTOCOL_NAME.get(protocolNumber);
  if (protocol === undefined) throw new ProtocolError(`service row ${String(row)}: protocol ${String(protocolNumber)} is none of IPVS`);
  return { protocol, address: formatAddressBytes(columns.address, family, row * 16), port: at(columns.port, row) };
}

/** {@link serviceKey} of service row `row`. */
export function serviceKeyAt(snapshot: IpvsSnapshot, row: number): string {
  return serviceKey(serviceIdAt(snapshot, row));
}

/** The id of destination row `row`. */
export function destinationIdAt(snapshot: IpvsSnapshot, row: number): DestinationId {
  const columns = snapshot.destinations;
  checkRow(columns.count, row);
  return { address: formatAddressBytes(columns.address, familyAt(columns, row), row * 16), port: at(columns.port, row) };
}

/** {@link destinationKey} of destination row `row`. */
export function destinationKeyAt(snapshot: IpvsSnapshot, row: number): string {
  return destinationKey(destinationIdAt(snapshot, row));
}

function socketNumber(bytes: Uint8Array, offset: number, port: number): number {
  // 48 bits: exact in a double, and never -1.
  return (
    at(bytes, offset) * 0x10000000000 +
    ((at(bytes, offset + 1) << 16) | (at(bytes, offset + 2) << 8) | at(bytes, offset + 3)) * 0x10000 +
    port
  );
}

const scratch = new Uint8Array(16);

/**
 * An exact number for an IPv4 destination (address * 65536 + port), cheaper to make and to compare
 * than its text; -1 for an IPv6 destination, which is found by {@link destinationKey}, and for a
 * text that is no address.
 */
export function destinationNumber(id: DestinationId): number {
  return writeAddress(id.address, scratch) === 4 ? socketNumber(scratch, 0, id.port) : -1;
}

/** {@link destinationNumber} of destination row `row`; -1 for IPv6. Does not check the row. */
export function destinationNumberAt(snapshot: IpvsSnapshot, row: number): number {
  const columns = snapshot.destinations;
  return columns.family[row] === 4 ? socketNumber(columns.address, row * 16, at(columns.port, row)) : -1;
}

function digits(bytes: Uint8Array, offset: number, port: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + offset, 16).toString('hex') + port.toString(16).padStart(4, '0');
}

/** Address and port of an IPv6 destination as 36 hexadecimal digits, which compare as the bytes do; '' for any other. */
export function destinationDigits(id: DestinationId): string {
  return writeAddress(id.address, scratch) === 6 ? digits(scratch, 0, id.port) : '';
}

/** {@link destinationDigits} of destination row `row`, which is of IPv6. Does not check the row. */
export function destinationDigitsAt(snapshot: IpvsSnapshot, row: number): string {
  return digits(snapshot.destinations.address, row * 16, at(snapshot.destinations.port, row));
}

/** IP_VS_SVC_F_* bits of a specification. */
export function serviceFlags(spec: ServiceSpec): number {
  let flags = 0;
  if (spec.persistenceSeconds !== undefined) flags |= FLAG_PERSISTENT;
  if (spec.onePacket === true) flags |= FLAG_ONE_PACKET;
  for (const number of spec.schedulerFlags ?? []) flags |= FLAG_SCHEDULER_1 << (number - 1);
  return flags;
}

/** IP_VS_TUNNEL_ENCAP_FLAG_* bits of a specification. */
export function tunnelFlags(spec: DestinationSpec): number {
  return TUNNEL_CHECKSUM[spec.tunnel?.checksum ?? 'none'];
}

/** The specification of service row `row`; what equals the default is left out. */
export function serviceSpecAt(snapshot: IpvsSnapshot, row: number): ServiceSpec {
  const columns = snapshot.services;
  checkRow(columns.count, row);
  const flags = at(columns.flags, row);
  const prefix = at(columns.prefix, row);
  const engine = snapshot.names[at(columns.persistenceEngine, row)] ?? '';
  const schedulerFlags = ([1, 2, 3] as const).filter((number) => (flags & (FLAG_SCHEDULER_1 << (number - 1))) !== 0);
  return {
    scheduler: snapshot.names[at(columns.scheduler, row)] ?? '',
    ...(schedulerFlags.length > 0 ? { schedulerFlags } : {}),
    ...((flags & FLAG_PERSISTENT) !== 0 ? { persistenceSeconds: at(columns.timeout, row) } : {}),
    ...(prefix !== (familyAt(columns, row) === 4 ? 32 : 128) ? { persistencePrefix: prefix } : {}),
    ...((flags & FLAG_ONE_PACKET) !== 0 ? { onePacket: true } : {}),
    ...(engine !== '' ? { persistenceEngine: engine } : {}),
  };
}

function tunnelAt(columns: DestinationColumns, row: number): DestinationSpec['tunnel'] {
  const type = TUNNEL_TYPES[at(columns.tunnelType, row)];
  if (type === undefined)
    throw new ProtocolError(`destination row ${String(row)}: tunnel type ${String(at(columns.tunnelType, row))} is unknown`);
  const port = at(columns.tunnelPort, row);
  const flags = at(columns.tunnelFlags, row);
  if (type === 'ipip' && port === 0 && flags === 0) return undefined;
  return {
    type,
    ...(port !== 0 ? { port } : {}),
    // Both bits at once cannot be asked for by ipvsadm; the kernel then does remote checksum offload.
    ...((flags & TUNNEL_CHECKSUM.remote) !== 0
      ? { checksum: 'remote' as const }
      : (flags & TUNNEL_CHECKSUM.plain) !== 0
        ? { checksum: 'plain' as const }
        : {}),
  };
}

/** The specification of destination row `row`; what equals the default is left out. */
export function destinationSpecAt(snapshot: IpvsSnapshot, row: number): DestinationSpec {
  const columns = snapshot.destinations;
  checkRow(columns.count, row);
  const forward = FORWARDING_METHODS[at(columns.forward, row)];
  if (forward === undefined)
    throw new ProtocolError(`destination row ${String(row)}: forwarding method ${String(at(columns.forward, row))} is unknown`);
  const upper = at(columns.upperThreshold, row);
  const lower = at(columns.lowerThreshold, row);
  const tunnel = forward === 'tunnel' ? tunnelAt(columns, row) : undefined;
  return {
    forward,
    weight: at(columns.weight, row),
    ...(upper !== 0 ? { upperThreshold: upper } : {}),
    ...(lower !== 0 ? { lowerThreshold: lower } : {}),
    ...(tunnel !== undefined ? { tunnel } : {}),
  };
}

/** Row `row` of a statistics column as an object. */
export function statisticsAt(column: Float64Array, row: number): Statistics {
  const base = row * STATISTICS_STRIDE;
  return {
    connections: at(column, base),
    inPackets: at(column, base + 1),
    outPackets: at(column, base + 2),
    inBytes: at(column, base + 3),
    outBytes: at(column, base + 4),
    connectionsPerSecond: at(column, base + 5),
    inPacketsPerSecond: at(column, base + 6),
    outPacketsPerSecond: at(column, base + 7),
    inBytesPerSecond: at(column, base + 8),
    outBytesPerSecond: at(column, base + 9),
  };
}

function destinationAt(snapshot: IpvsSnapshot, row: number): Destination {
  const columns = snapshot.destinations;
  return {
    id: destinationIdAt(snapshot, row),
    spec: destinationSpecAt(snapshot, row),
    activeConnections: at(columns.activeConnections, row),
    inactiveConnections: at(columns.inactiveConnections, row),
    persistentConnections: at(columns.persistentConnections, row),
    statistics: statisticsAt(columns.statistics, row),
  };
}

/** Service row `row` with its destinations, as objects. */
export function serviceAt(snapshot: IpvsSnapshot, row: number): Service {
  const destinations: Destination[] = [];
  const { firstDestination, statistics } = snapshot.services;
  for (let next = at(firstDestination, row); next < at(firstDestination, row + 1); next++) destinations.push(destinationAt(snapshot, next));
  return {
    id: serviceIdAt(snapshot, row),
    spec: serviceSpecAt(snapshot, row),
    statistics: statisticsAt(statistics, row),
    destinations,
  };
}

/** The whole snapshot as objects, in the kernel's order; defaults are left out of specifications. */
export function toObjects(snapshot: IpvsSnapshot): Service[] {
  return Array.from({ length: snapshot.services.count }, (_, row) => serviceAt(snapshot, row));
}

function setStatistics(column: Float64Array, row: number, statistics: Statistics): void {
  column.set(
    [
      statistics.connections,
      statistics.inPackets,
      statistics.outPackets,
      statistics.inBytes,
      statistics.outBytes,
      statistics.connectionsPerSecond,
      statistics.inPacketsPerSecond,
      statistics.outPacketsPerSecond,
      statistics.inBytesPerSecond,
      statistics.outBytesPerSecond,
    ],
    row * STATISTICS_STRIDE,
  );
}

function setAddress(columns: { readonly family: Uint8Array; readonly address: Uint8Array }, row: number, address: string): void {
  const family = writeAddress(address, columns.address, row * 16);
  if (family === 0) throw new TypeError(`not an IP address: ${JSON.stringify(address)}`);
  columns.family[row] = family;
}

/** Empty service columns of `count` rows. */
function serviceColumns(count: number): ServiceColumns {
  return {
    count,
    family: new Uint8Array(count),
    protocol: new Uint8Array(count),
    address: new Uint8Array(count * 16),
    port: new Uint16Array(count),
    fwmark: new Uint32Array(count),
    flags: new Uint32Array(count),
    timeout: new Uint32Array(count),
    prefix: new Uint8Array(count),
    scheduler: new Uint16Array(count),
    persistenceEngine: new Uint16Array(count),
    statistics: new Float64Array(count * STATISTICS_STRIDE),
    firstDestination: new Uint32Array(count + 1),
  };
}

/** Empty destination columns of `count` rows. */
function destinationColumns(count: number): DestinationColumns {
  return {
    count,
    family: new Uint8Array(count),
    address: new Uint8Array(count * 16),
    port: new Uint16Array(count),
    forward: new Uint8Array(count),
    weight: new Int32Array(count),
    upperThreshold: new Uint32Array(count),
    lowerThreshold: new Uint32Array(count),
    tunnelType: new Uint8Array(count),
    tunnelPort: new Uint16Array(count),
    tunnelFlags: new Uint16Array(count),
    activeConnections: new Uint32Array(count),
    inactiveConnections: new Uint32Array(count),
    persistentConnections: new Uint32Array(count),
    statistics: new Float64Array(count * STATISTICS_STRIDE),
  };
}

function setService(columns: ServiceColumns, row: number, service: Service, indexOf: (name: string) => number): void {
  const { id, spec } = service;
  if ('fwmark' in id) {
    columns.family[row] = id.family === 'ipv4' ? 4 : 6;
    columns.fwmark[row] = id.fwmark;
  } else {
    setAddress(columns, row, id.address);
    columns.protocol[row] = PROTOCOL_NUMBER[id.protocol];
    columns.port[row] = id.port;
  }
  columns.flags[row] = serviceFlags(spec);
  columns.timeout[row] = spec.persistenceSeconds ?? 0;
  columns.prefix[row] = spec.persistencePrefix ?? (familyAt(columns, row) === 4 ? 32 : 128);
  columns.scheduler[row] = indexOf(spec.scheduler);
  columns.persistenceEngine[row] = indexOf(spec.persistenceEngine ?? '');
  setStatistics(columns.statistics, row, service.statistics);
}

function setDestination(columns: DestinationColumns, row: number, destination: Destination): void {
  const { id, spec } = destination;
  setAddress(columns, row, id.address);
  columns.port[row] = id.port;
  columns.forward[row] = FORWARDING_NUMBER[spec.forward];
  columns.weight[row] = spec.weight;
  columns.upperThreshold[row] = spec.upperThreshold ?? 0;
  columns.lowerThreshold[row] = spec.lowerThreshold ?? 0;
  columns.tunnelType[row] = TUNNEL_NUMBER[spec.tunnel?.type ?? 'ipip'];
  columns.tunnelPort[row] = spec.tunnel?.port ?? 0;
  columns.tunnelFlags[row] = tunnelFlags(spec);
  columns.activeConnections[row] = destination.activeConnections;
  columns.inactiveConnections[row] = destination.inactiveConnections;
  columns.persistentConnections[row] = destination.persistentConnections;
  setStatistics(columns.statistics, row, destination.statistics);
}

/**
 * The columns a kernel that holds exactly `services` would answer, rows in the order given. An
 * address that is none throws a TypeError.
 */
export function snapshotFromObjects(services: readonly Service[]): IpvsSnapshot {
  const names = [''];
  const indexes = new Map([['', 0]]);
  const indexOf = (name: string): number => {
    const known = indexes.get(name);
    if (known !== undefined) return known;
    indexes.set(name, names.length);
    return names.push(name) - 1;
  };
  const into = serviceColumns(services.length);
  const destinations = destinationColumns(services.reduce((sum, service) => sum + service.destinations.length, 0));
  let next = 0;
  services.forEach((service, row) => {
    setService(into, row, service, indexOf);
    into.firstDestination[row] = next;
    for (const destination of service.destinations) setDestination(destinations, next++, destination);
  });
  into.firstDestination[services.length] = next;
  return { names, services: into, destinations };
}
