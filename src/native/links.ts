import { addon } from './addon.ts';
import { KernelError, ProtocolError, UnsupportedError } from './errors.ts';
import type { EventIterator } from './event-iterator.ts';
import { HandleLife } from './handle-life.ts';
import type { ApplyResult, Failure } from './ipvs-types.ts';
import { writeAddress } from './address-bytes.ts';
import { addressesOf, describeLinkOperation, linkOf, neighboursOf, packOperations, routesOf, routeToOf } from './links-records.ts';
import type { RawLink } from './links-records.ts';
import type { InterfaceAddress, Link, LinkEvent, LinkOperation, LinksPort, Neighbour, Route, RouteTo } from './link-types.ts';
import { checkedOpenOptions, netnsHandle } from './netns.ts';
import type { NetnsHandle, OpenOptions } from './netns.ts';

/** One refused operation as the addon reports it. */
interface RawFailure {
  readonly index: number;
  readonly errno: number;
  readonly code: string;
  readonly message?: string;
  readonly offset?: number;
}

type RawEvent =
  | { readonly kind: 0; readonly deleted: boolean; readonly value: RawLink }
  | { readonly kind: 1 | 2 | 3; readonly deleted: boolean; readonly value: ArrayBuffer }
  | { readonly type: 'overrun' };

interface LinksHandle {
  links(): Promise<RawLink[]>;
  addresses(): Promise<ArrayBuffer>;
  routes(): Promise<ArrayBuffer>;
  neighbours(): Promise<ArrayBuffer>;
  routeTo(address: Uint8Array): Promise<ArrayBuffer>;
  apply(bytes: ArrayBuffer, names: readonly string[]): Promise<RawFailure[]>;
  watch(kinds: number, deliver: (event: RawEvent | Error | null) => void): Promise<() => void>;
  close(): Promise<void>;
}

interface LinksExports {
  linksOpen(netns: NetnsHandle, timeoutMs: number, receiveBufferBytes: number): Promise<LinksHandle>;
}

/** Position of each group in the mask and in the events of the addon. */
const groupNames = ['link', 'address', 'route', 'neighbour'] as const;

/** What watch() can watch. */
export type LinkGroup = (typeof groupNames)[number];

const tunnelModules = { ipip: 'ipip', ip6tnl: 'ip6_tunnel', gre: 'ip_gre', ip6gre: 'ip6_gre' } as const;

function eventOf(raw: RawEvent): LinkEvent | undefined {
  if ('type' in raw) return raw;
  const change = raw.deleted ? 'deleted' : 'new';
  if (raw.kind === 0) return { type: 'link', change, link: linkOf(raw.value) };
  if (raw.kind === 1) {
    const [address] = addressesOf(raw.value);
    return address && { type: 'address', change, address };
  }
  if (raw.kind === 2) {
    const [route] = routesOf(raw.value);
    return route && { type: 'route', change, route };
  }
  const [neighbour] = neighboursOf(raw.value);
  return neighbour && { type: 'neighbour', change, neighbour };
}

function failureOf(raw: RawFailure, operation: LinkOperation): Failure<LinkOperation> {
  const extack = {
    ...(raw.message !== undefined && { message: raw.message }),
    ...(raw.offset !== undefined && { offset: raw.offset }),
  };
  const error = new KernelError({
    op: `links.${operation.op}`,
    subject: describeLinkOperation(operation),
    errno: raw.errno,
    code: raw.code,
    index: raw.index,
    extack,
  });
  return { index: raw.index, operation, error };
}

/** Links, addresses, routes and neighbours of one network namespace (rtnetlink). */
export class Links implements LinksPort {
  readonly #handle: LinksHandle;
  readonly #life: HandleLife<LinkEvent>;

  private constructor(handle: LinksHandle) {
    this.#handle = handle;
    this.#life = new HandleLife(handle);
  }

  /** Opens a socket in `netns`, by default the namespace of the process. ClosedError when that is closed. */
  static async open(options: OpenOptions = {}): Promise<Links> {
    const { timeoutMs, receiveBufferBytes } = checkedOpenOptions(options);
    const exports = addon() as unknown as LinksExports;
    return new Links(await exports.linksOpen(netnsHandle(options.netns), timeoutMs, receiveBufferBytes));
  }

  /** All devices. DumpInterruptedError when the table changed during each of four reads. */
  async links(): Promise<readonly Link[]> {
    return (await this.#handle.links()).map(linkOf);
  }

  /** All IPv4 and IPv6 addresses of all devices. */
  async addresses(): Promise<readonly InterfaceAddress[]> {
    return addressesOf(await this.#handle.addresses());
  }

  /** All IPv4 and IPv6 routes of all tables. A multipath route has neither gateway nor interface. */
  async routes(): Promise<readonly Route[]> {
    return routesOf(await this.#handle.routes());
  }

  /** The ARP and NDP tables. */
  async neighbours(): Promise<readonly Neighbour[]> {
    return neighboursOf(await this.#handle.neighbours());
  }

  /**
   * Where this machine would send a packet to the address, and how large it may be. KernelError ENETUNREACH or
   * EHOSTUNREACH where there is no way, another errno for a route that refuses (EACCES: prohibited); RangeError for a
   * text that is no address.
   */
  async routeTo(address: string): Promise<RouteTo> {
    const bytes = new Uint8Array(16);
    const family = typeof address === 'string' ? writeAddress(address, bytes) : 0;
    if (family === 0) throw new RangeError(`address: not an IP address: ${JSON.stringify(address)}`);
    const found = routeToOf(await this.#handle.routeTo(bytes.subarray(0, family === 4 ? 4 : 16)));
    if (found === undefined) throw new ProtocolError(`links.routeTo ${address}: answer without a route`);
    return found;
  }

  /**
   * Carries out the operations in order; not atomic: those that the kernel refused are listed, the
   * rest took effect. Rejects with RangeError or TypeError, before anything is sent, for a malformed
   * operation; with UnsupportedError when the kernel has no dummy or tunnel device (the others were
   * carried out); with another error only when the answers were lost.
   */
  async apply(operations: readonly LinkOperation[]): Promise<ApplyResult<LinkOperation>> {
    const { bytes, names } = packOperations(operations);
    const refused = await this.#handle.apply(bytes, names);
    const found = new Set(await this.#tunnelsThere(operations, refused));
    const failed = refused.flatMap((raw) => {
      const operation = operations[raw.index];
      return operation === undefined || found.has(raw.index) ? [] : [failureOf(raw, operation)];
    });
    for (const { operation, error } of failed) {
      // rtnl_newlink() answers EOPNOTSUPP for a kind that neither is there nor could be loaded.
      if (error.code !== 'EOPNOTSUPP') continue;
      if (operation.op === 'addDummy') throw new UnsupportedError('dummy network device', 'modprobe dummy');
      if (operation.op === 'addTunnel') {
        throw new UnsupportedError(`${operation.kind} network device`, `modprobe ${tunnelModules[operation.kind]}`);
      }
    }
    return { applied: operations.length - failed.length, failed };
  }

  /** Positions of tunnels that could not be added since they are there: loading the module makes one of each kind. */
  async #tunnelsThere(operations: readonly LinkOperation[], refused: readonly RawFailure[]): Promise<number[]> {
    const suspects = refused.filter(({ index, code }) => operations[index]?.op === 'addTunnel' && code === 'EEXIST');
    if (suspects.length === 0) return [];
    const links = await this.links();
    return suspects.flatMap(({ index }) => {
      const operation = operations[index];
      const there = operation?.op === 'addTunnel' && links.some(({ name, kind }) => name === operation.name && kind === operation.kind);
      return there ? [index] : [];
    });
  }

  /**
   * Changes from now on, also those made by this handle, in the kernel's order. After
   * `{ type: 'overrun' }` events were lost: read everything again. Ends when the signal aborts or
   * the handle or its namespace closes; next() throws when the subscription is refused.
   */
  watch(groups: readonly LinkGroup[], options: { signal?: AbortSignal } = {}): EventIterator<LinkEvent> {
    const unknown = groups.find((group) => !groupNames.includes(group));
    if (unknown !== undefined) throw new RangeError(`groups: unknown group ${JSON.stringify(unknown)}`);
    const mask = groupNames.reduce((bits, name, bit) => bits | (groups.includes(name) ? 1 << bit : 0), 0);
    return this.#life.watch(
      async (deliver) =>
        this.#handle.watch(mask, (raw) => {
          const event = raw === null || raw instanceof Error ? raw : eventOf(raw);
          if (event !== undefined) deliver(event);
        }),
      options.signal,
    );
  }

  /** Ends the watches and closes the socket after the calls that were made before. Idempotent. */
  close(): Promise<void> {
    return this.#life.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
