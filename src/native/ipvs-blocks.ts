/**
 * The blocks of bytes in which IPVS data cross to and from the addon: one ArrayBuffer per call, cut
 * into columns in a fixed order, widest elements first so that each is aligned.
 * native/ipvs_columns.{h,cc} cut the same blocks in the same order.
 */
import { writeAddress } from './address-bytes.ts';
import { PROTOCOL_NUMBER, TUNNEL_NUMBER } from './ipvs-constants.ts';
import { checkDestinationId, checkDestinationSpec, checkServiceId, checkServiceSpec, refuseAddress } from './ipvs-checks.ts';
import { STATISTICS_STRIDE, serviceFlags, tunnelFlags } from './ipvs-columns.ts';
import type { DestinationId, DestinationSpec, IpvsOperation, IpvsSnapshot, ServiceId, ServiceSpec } from './ipvs-types.ts';

/** Hands out consecutive columns of a buffer. */
class Cutter {
  #at = 0;
  readonly #buffer: ArrayBuffer;

  constructor(buffer: ArrayBuffer) {
    this.#buffer = buffer;
  }

  #skip(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    return at;
  }

  f64(count: number): Float64Array {
    return new Float64Array(this.#buffer, this.#skip(count * 8), count);
  }

  u32(count: number): Uint32Array {
    return new Uint32Array(this.#buffer, this.#skip(count * 4), count);
  }

  i32(count: number): Int32Array {
    return new Int32Array(this.#buffer, this.#skip(count * 4), count);
  }

  u16(count: number): Uint16Array {
    return new Uint16Array(this.#buffer, this.#skip(count * 2), count);
  }

  u8(count: number): Uint8Array {
    return new Uint8Array(this.#buffer, this.#skip(count), count);
  }
}

/** A snapshot as the addon gives it. */
export interface SnapshotBlock {
  readonly names: readonly string[];
  readonly services: number;
  readonly destinations: number;
  readonly bytes: ArrayBuffer;
}

/** The columns of a block, as views: nothing is copied. */
export function cutSnapshot(block: SnapshotBlock): IpvsSnapshot {
  const { services: n, destinations: m } = block;
  const cut = new Cutter(block.bytes);
  const serviceStatistics = cut.f64(n * STATISTICS_STRIDE);
  const statistics = cut.f64(m * STATISTICS_STRIDE);
  const service32 = { fwmark: cut.u32(n), flags: cut.u32(n), timeout: cut.u32(n), firstDestination: cut.u32(n + 1) };
  const destination32 = {
    weight: cut.i32(m),
    upperThreshold: cut.u32(m),
    lowerThreshold: cut.u32(m),
    activeConnections: cut.u32(m),
    inactiveConnections: cut.u32(m),
    persistentConnections: cut.u32(m),
  };
  const service16 = { port: cut.u16(n), scheduler: cut.u16(n), persistenceEngine: cut.u16(n) };
  const destination16 = { port: cut.u16(m), tunnelPort: cut.u16(m), tunnelFlags: cut.u16(m) };
  const service8 = { family: cut.u8(n), protocol: cut.u8(n), prefix: cut.u8(n) };
  const destination8 = { family: cut.u8(m), forward: cut.u8(m), tunnelType: cut.u8(m) };
  const serviceAddress = cut.u8(n * 16);
  const address = cut.u8(m * 16);
  return {
    names: block.names,
    services: { count: n, ...service32, ...service16, ...service8, address: serviceAddress, statistics: serviceStatistics },
    destinations: { count: m, ...destination32, ...destination16, ...destination8, address, statistics },
  };
}

/** enum class Operation of native/ipvs_columns.h. */
const ADD_SERVICE = 0;
const SET_SERVICE = 1;
const DELETE_SERVICE = 2;
const ADD_DESTINATION = 3;
const SET_DESTINATION = 4;
const DELETE_DESTINATION = 5;

/** OperationBlock::kBytesPerRow. */
const BYTES_PER_ROW = 7 * 4 + 6 * 2 + 7 + 2 * 16;

/** Never a caller's object: a missing service must not pass for the one before. */
const NO_SERVICE: ServiceId = { fwmark: 0, family: 'ipv4' };

/**
 * Operations in columns, filled row by row. Every value is checked on the way: what is refused is
 * a TypeError or RangeError that names the field (`operations[3].spec.weight: …`).
 */
export class OperationColumns {
  readonly bytes: ArrayBuffer;
  readonly names: string[] = [''];
  readonly count: number;
  readonly #indexes = new Map([['', 0]]);
  #lastService: ServiceId = NO_SERVICE;
  #lastServiceRow = 0;

  readonly #serviceRow: Uint32Array;
  readonly #fwmark: Uint32Array;
  readonly #flags: Uint32Array;
  readonly #timeout: Uint32Array;
  readonly #weight: Uint32Array;
  readonly #upper: Uint32Array;
  readonly #lower: Uint32Array;
  readonly #port: Uint16Array;
  readonly #scheduler: Uint16Array;
  readonly #engine: Uint16Array;
  readonly #destinationPort: Uint16Array;
  readonly #tunnelPort: Uint16Array;
  readonly #tunnelFlags: Uint16Array;
  readonly #operation: Uint8Array;
  readonly #family: Uint8Array;
  readonly #protocol: Uint8Array;
  readonly #prefix: Uint8Array;
  readonly #destinationFamily: Uint8Array;
  readonly #forward: Uint8Array;
  readonly #tunnelType: Uint8Array;
  readonly #address: Uint8Array;
  readonly #destinationAddress: Uint8Array;

  constructor(count: number) {
    this.count = count;
    this.bytes = new ArrayBuffer(count * BYTES_PER_ROW);
    const cut = new Cutter(this.bytes);
    this.#serviceRow = cut.u32(count);
    this.#fwmark = cut.u32(count);
    this.#flags = cut.u32(count);
    this.#timeout = cut.u32(count);
    this.#weight = cut.u32(count);
    this.#upper = cut.u32(count);
    this.#lower = cut.u32(count);
    this.#port = cut.u16(count);
    this.#scheduler = cut.u16(count);
    this.#engine = cut.u16(count);
    this.#destinationPort = cut.u16(count);
    this.#tunnelPort = cut.u16(count);
    this.#tunnelFlags = cut.u16(count);
    this.#operation = cut.u8(count);
    this.#family = cut.u8(count);
    this.#protocol = cut.u8(count);
    this.#prefix = cut.u8(count);
    this.#destinationFamily = cut.u8(count);
    this.#forward = cut.u8(count);
    this.#tunnelType = cut.u8(count);
    this.#address = cut.u8(count * 16);
    this.#destinationAddress = cut.u8(count * 16);
  }

  /** Empty again, for as many other operations: cheaper than new memory. */
  reset(): void {
    new Uint8Array(this.bytes).fill(0);
    this.names.length = 1;
    this.#indexes.clear();
    this.#indexes.set('', 0);
    this.#lastService = NO_SERVICE;
    this.#lastServiceRow = 0;
  }

  /** Fills row `row`; `path` begins the error's field name and is asked for only then. */
  put(row: number, operation: IpvsOperation, path: () => string): void {
    this.putService(row, operation.service, path);
    // By name, not by what is there: a missing destination is to be refused.
    switch (operation.op) {
      case 'addDestination':
      case 'setDestination':
        this.#putDestination(row, operation.destination, path);
        this.#putDestinationSpec(row, operation.spec, path);
        this.#operation[row] = operation.op === 'addDestination' ? ADD_DESTINATION : SET_DESTINATION;
        return;
      case 'deleteDestination':
        this.#putDestination(row, operation.destination, path);
        this.#operation[row] = DELETE_DESTINATION;
        return;
      case 'addService':
      case 'setService':
        this.#putServiceSpec(row, operation.spec, path);
        this.#operation[row] = operation.op === 'addService' ? ADD_SERVICE : SET_SERVICE;
        return;
      case 'deleteService':
        this.#operation[row] = DELETE_SERVICE;
        return;
      default:
        throw new TypeError(`${path()}.op: not an operation: ${JSON.stringify((operation as { op: unknown }).op)}`);
    }
  }

  /** Fills the columns that name the service. */
  putService(row: number, id: ServiceId, path: () => string): void {
    // Plans list the destinations of one service one after another: those rows point to the first.
    if (id === this.#lastService) {
      this.#serviceRow[row] = this.#lastServiceRow;
      return;
    }
    checkServiceId(id, path);
    if ('fwmark' in id) {
      this.#fwmark[row] = id.fwmark;
      this.#family[row] = id.family === 'ipv4' ? 4 : 6;
    } else {
      const family = writeAddress(id.address, this.#address, row * 16);
      if (family === 0) refuseAddress(`${path()}.service.address`, id.address);
      this.#family[row] = family;
      this.#protocol[row] = PROTOCOL_NUMBER[id.protocol];
      this.#port[row] = id.port;
    }
    this.#serviceRow[row] = row;
    this.#lastService = id;
    this.#lastServiceRow = row;
  }

  #putServiceSpec(row: number, spec: ServiceSpec, path: () => string): void {
    const full = this.#family[this.#serviceRow[row] ?? row] === 4 ? 32 : 128;
    checkServiceSpec(spec, full, path);
    this.#flags[row] = serviceFlags(spec);
    this.#timeout[row] = spec.persistenceSeconds ?? 0;
    this.#prefix[row] = spec.persistencePrefix ?? full;
    this.#scheduler[row] = this.#indexOf(spec.scheduler);
    this.#engine[row] = this.#indexOf(spec.persistenceEngine ?? '');
  }

  #putDestination(row: number, id: DestinationId, path: () => string): void {
    checkDestinationId(id, path);
    const family = writeAddress(id.address, this.#destinationAddress, row * 16);
    if (family === 0) refuseAddress(`${path()}.destination.address`, id.address);
    this.#destinationFamily[row] = family;
    this.#destinationPort[row] = id.port;
  }

  #putDestinationSpec(row: number, spec: DestinationSpec, path: () => string): void {
    this.#forward[row] = checkDestinationSpec(spec, path);
    this.#weight[row] = spec.weight;
    // The columns begin as zeros.
    if (spec.upperThreshold !== undefined) this.#upper[row] = spec.upperThreshold;
    if (spec.lowerThreshold !== undefined) this.#lower[row] = spec.lowerThreshold;
    if (spec.tunnel === undefined) return;
    this.#tunnelType[row] = TUNNEL_NUMBER[spec.tunnel.type];
    this.#tunnelPort[row] = spec.tunnel.port ?? 0;
    this.#tunnelFlags[row] = tunnelFlags(spec);
  }

  #indexOf(name: string): number {
    const known = this.#indexes.get(name);
    if (known !== undefined) return known;
    if (this.names.length > 0xffff) throw new RangeError('more than 65535 scheduler and persistence engine names in one batch');
    this.#indexes.set(name, this.names.length);
    return this.names.push(name) - 1;
  }
}
