/**
 * What a caller may ask of IPVS, checked before a byte is sent: a TypeError for the wrong kind of
 * value, a RangeError for a number outside its range, each naming the field. Paths are functions,
 * because they are needed only when something is wrong.
 */
import { parseAddressBytes } from './address-bytes.ts';
import { FORWARDING_NUMBER, PROTOCOL_NUMBER, TUNNEL_CHECKSUM, TUNNEL_NUMBER } from './ipvs-constants.ts';
import type { DestinationId, DestinationSpec, IpvsTimeouts, ServiceId, ServiceSpec, SyncDaemon } from './ipvs-types.ts';

type Path = () => string;

function show(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

/** The hot half of checkInteger(): no closure is made where the value is right. */
function within(value: number, low: number, high: number): boolean {
  return Number.isInteger(value) && value >= low && value <= high;
}

function refuseInteger(value: unknown, low: number, high: number, field: string): never {
  if (typeof value !== 'number') throw new TypeError(`${field}: expected a number, got ${show(value)}`);
  throw new RangeError(`${field}: expected an integer from ${String(low)} to ${String(high)}, got ${String(value)}`);
}

function checkInteger(value: number, low: number, high: number, field: Path): void {
  if (!within(value, low, high)) refuseInteger(value, low, high, field());
}

/** Array.isArray() that does not narrow: the type says array, the caller may not. */
export const isArray: (value: unknown) => boolean = Array.isArray;

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

function refuseObject(value: unknown, field: string): never {
  throw new TypeError(`${field}: expected an object, got ${show(value)}`);
}

function checkObject(value: unknown, field: Path): void {
  if (!isObject(value)) refuseObject(value, field());
}

function isOneOf(value: unknown, table: Readonly<Record<string, unknown>>): boolean {
  return typeof value === 'string' && Object.hasOwn(table, value);
}

function refuseOneOf(value: unknown, table: Readonly<Record<string, unknown>>, field: string): never {
  throw new TypeError(`${field}: expected one of ${Object.keys(table).join(', ')}; got ${show(value)}`);
}

function checkOneOf(value: unknown, table: Readonly<Record<string, unknown>>, field: Path): void {
  if (!isOneOf(value, table)) refuseOneOf(value, table, field());
}

/** IP_VS_SCHEDNAME_MAXLEN, IP_VS_PENAME_MAXLEN and IP_VS_IFNAME_MAXLEN are all 16, with the NUL. */
const NAME = /^[!-~]{1,15}$/;

function checkName(value: unknown, field: Path): void {
  if (typeof value === 'string' && NAME.test(value)) return;
  throw new TypeError(`${field()}: expected 1 to 15 printable ASCII characters, got ${show(value)}`);
}

/** Throws the TypeError for a text that is no address. */
export function refuseAddress(field: string, value: unknown): never {
  throw new TypeError(`${field}: not an IP address: ${show(value)}`);
}

export function checkServiceId(id: ServiceId, path: Path): void {
  checkObject(id, () => `${path()}.service`);
  if ('fwmark' in id) {
    // Mark 0 is "no mark": the kernel would take the service for one named by address.
    checkInteger(id.fwmark, 1, 0xffffffff, () => `${path()}.service.fwmark`);
    checkOneOf(id.family, { ipv4: 4, ipv6: 6 }, () => `${path()}.service.family`);
    return;
  }
  checkOneOf(id.protocol, PROTOCOL_NUMBER, () => `${path()}.service.protocol`);
  if (typeof (id.address as unknown) !== 'string') refuseAddress(`${path()}.service.address`, id.address);
  checkInteger(id.port, 0, 65535, () => `${path()}.service.port`);
}

/** A month, as ipvsadm(8) allows (MAX_TIMEOUT): the kernel multiplies seconds by HZ in 32 bits. */
const MAX_PERSISTENCE = 86_400 * 31;

/** `full`: 32 for an IPv4 service, 128 for IPv6. */
export function checkServiceSpec(spec: ServiceSpec, full: number, path: Path): void {
  checkObject(spec, () => `${path()}.spec`);
  checkName(spec.scheduler, () => `${path()}.spec.scheduler`);
  if (spec.schedulerFlags !== undefined) {
    if (!isArray(spec.schedulerFlags)) throw new TypeError(`${path()}.spec.schedulerFlags: expected an array`);
    spec.schedulerFlags.forEach((flag, i) => {
      checkInteger(flag, 1, 3, () => `${path()}.spec.schedulerFlags[${String(i)}]`);
    });
  }
  if (spec.persistenceSeconds !== undefined) {
    checkInteger(spec.persistenceSeconds, 1, MAX_PERSISTENCE, () => `${path()}.spec.persistenceSeconds`);
  }
  if (spec.persistencePrefix !== undefined) checkInteger(spec.persistencePrefix, 1, full, () => `${path()}.spec.persistencePrefix`);
  if (spec.onePacket !== undefined && typeof (spec.onePacket as unknown) !== 'boolean') {
    throw new TypeError(`${path()}.spec.onePacket: expected a boolean, got ${show(spec.onePacket)}`);
  }
  if (spec.persistenceEngine !== undefined && spec.persistenceEngine !== '') {
    checkName(spec.persistenceEngine, () => `${path()}.spec.persistenceEngine`);
  }
}

export function checkDestinationId(id: DestinationId, path: Path): void {
  if (!isObject(id)) refuseObject(id, `${path()}.destination`);
  if (typeof (id.address as unknown) !== 'string') refuseAddress(`${path()}.destination.address`, id.address);
  if (!within(id.port, 0, 65535)) refuseInteger(id.port, 0, 65535, `${path()}.destination.port`);
}

function checkTunnel(tunnel: NonNullable<DestinationSpec['tunnel']>, path: Path): void {
  checkObject(tunnel, () => `${path()}.spec.tunnel`);
  checkOneOf(tunnel.type, TUNNEL_NUMBER, () => `${path()}.spec.tunnel.type`);
  if (tunnel.checksum !== undefined) checkOneOf(tunnel.checksum, TUNNEL_CHECKSUM, () => `${path()}.spec.tunnel.checksum`);
  if (tunnel.type === 'gue') {
    if (tunnel.port === undefined) throw new TypeError(`${path()}.spec.tunnel.port: gue needs one`);
    checkInteger(tunnel.port, 1, 65535, () => `${path()}.spec.tunnel.port`);
  } else if (tunnel.port !== undefined) {
    throw new TypeError(`${path()}.spec.tunnel.port: only gue has one`);
  }
}

/** -1 for what is no forwarding method. */
function forwardingNumber(forward: unknown): number {
  switch (forward) {
    case 'direct':
      return FORWARDING_NUMBER.direct;
    case 'tunnel':
      return FORWARDING_NUMBER.tunnel;
    case 'masquerade':
      return FORWARDING_NUMBER.masquerade;
    case 'local':
      return FORWARDING_NUMBER.local;
    default:
      return -1;
  }
}

/** Returns the number of the forwarding method, IP_VS_CONN_F_*. */
export function checkDestinationSpec(spec: DestinationSpec, path: Path): number {
  if (!isObject(spec)) refuseObject(spec, `${path()}.spec`);
  const forward = forwardingNumber(spec.forward);
  if (forward < 0) refuseOneOf(spec.forward, FORWARDING_NUMBER, `${path()}.spec.forward`);
  // ipvsadm(8): "valid values of weight are 0 through to 65535". Schedulers multiply it by connections.
  if (!within(spec.weight, 0, 65535)) refuseInteger(spec.weight, 0, 65535, `${path()}.spec.weight`);
  // Which of the two is wrong is not ours to say: lower above upper is the kernel's ERANGE (ip_vs_add_dest).
  const { upperThreshold: upper, lowerThreshold: lower, tunnel } = spec;
  if (upper !== undefined && !within(upper, 0, 0xffffffff)) refuseInteger(upper, 0, 0xffffffff, `${path()}.spec.upperThreshold`);
  if (lower !== undefined && !within(lower, 0, 0xffffffff)) refuseInteger(lower, 0, 0xffffffff, `${path()}.spec.lowerThreshold`);
  if (tunnel === undefined) return forward;
  if (spec.forward !== 'tunnel') throw new TypeError(`${path()}.spec.tunnel: only with forward "tunnel", not ${show(spec.forward)}`);
  checkTunnel(tunnel, path);
  return forward;
}

/** INT_MAX / HZ for the largest HZ (ip_vs_set_timeout). */
const MAX_TIMEOUT = 2_147_483;

export function checkTimeouts(timeouts: Partial<IpvsTimeouts>): void {
  checkObject(timeouts, () => 'timeouts');
  for (const [name, value] of Object.entries(timeouts)) {
    checkOneOf(name, { tcp: 0, tcpFin: 0, udp: 0 }, () => 'timeouts');
    if ((value as number | undefined) !== undefined) checkInteger(value, 1, MAX_TIMEOUT, () => `timeouts.${name}`);
  }
}

export function checkRole(role: unknown): void {
  checkOneOf(role, { master: 1, backup: 2 }, () => 'daemon.role');
}

/** Returns the bytes of the multicast group, when one is given. */
export function checkDaemon(daemon: SyncDaemon): Uint8Array | undefined {
  checkObject(daemon, () => 'daemon');
  checkRole(daemon.role);
  checkName(daemon.interface, () => 'daemon.interface');
  checkInteger(daemon.syncId, 0, 255, () => 'daemon.syncId');
  if (daemon.maxLength !== undefined) checkInteger(daemon.maxLength, 1, 65535, () => 'daemon.maxLength');
  if (daemon.port !== undefined) checkInteger(daemon.port, 1, 65535, () => 'daemon.port');
  if (daemon.ttl !== undefined) checkInteger(daemon.ttl, 1, 255, () => 'daemon.ttl');
  if (daemon.group === undefined) return undefined;
  const bytes = typeof (daemon.group as unknown) === 'string' ? parseAddressBytes(daemon.group) : undefined;
  if (bytes === undefined) return refuseAddress('daemon.group', daemon.group);
  // 224.0.0.0/4 and ff00::/8.
  const first = bytes[0] ?? 0;
  if (bytes.length === 4 ? first >> 4 !== 14 : first !== 0xff) {
    throw new RangeError(`daemon.group: not a multicast address: ${show(daemon.group)}`);
  }
  return bytes;
}
