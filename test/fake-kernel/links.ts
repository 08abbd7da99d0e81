/** Links, addresses and routes in memory, with the errno of rtnetlink. */
import { KernelError } from '../../src/native/errors.ts';
import { EventIterator } from '../../src/native/event-iterator.ts';
import type { ApplyResult, Failure } from '../../src/native/ipvs-types.ts';
import type {
  InterfaceAddress,
  Link,
  LinkEvent,
  LinkOperation,
  LinksPort,
  Route,
  RouteTo,
  TunnelKind,
} from '../../src/native/link-types.ts';
import { kernelError } from './errors.ts';
import type { Faults } from './faults.ts';
import type { Journal } from './journal.ts';

const FOREVER = 0xffffffff;
/** IFA_F_SECONDARY, IFA_F_DEPRECATED, IFA_F_PERMANENT of linux/if_addr.h. */
const SECONDARY = 0x01;
const DEPRECATED = 0x20;
const PERMANENT = 0x80;

function ipv4Bits(address: string): number {
  return address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

function sameSubnet(a: { address: string; prefix: number }, b: { address: string; prefix: number }): boolean {
  if (a.prefix !== b.prefix) return false;
  const size = 2 ** (32 - a.prefix);
  return Math.floor(ipv4Bits(a.address) / size) === Math.floor(ipv4Bits(b.address) / size);
}

function subjectOf(operation: LinkOperation): string {
  if ('address' in operation) return `${operation.address}/${operation.prefix} dev ${operation.interface}`;
  return 'name' in operation ? operation.name : `${operation.destination}/${operation.prefix}`;
}

export class FakeLinks implements LinksPort {
  readonly #links = new Map<string, Link>();
  #addresses: InterfaceAddress[] = [];
  #routes: Route[] = [];
  #nextIndex = 1;
  readonly #ways = new Map<string, RouteTo>();
  /** Kinds whose module brings a device of its own. */
  readonly #fallbacks = new Set<string>();
  /** IFA_PROTO is kept by 5.18 and newer only. */
  keepsProtocol = true;
  readonly #watchers = new Set<(event: LinkEvent) => void>();
  readonly #faults: Faults;
  readonly #journal: Journal;

  constructor(faults: Faults, journal: Journal) {
    this.#faults = faults;
    this.#journal = journal;
    this.addLink({ name: 'lo', kind: undefined, mac: '00:00:00:00:00:00', mtu: 65536, up: true, running: true, noArp: false });
  }

  has(name: string): boolean {
    return this.#links.has(name);
  }

  /** A device that somebody else made. */
  addLink(link: Omit<Link, 'index'>): Link {
    const added = { ...link, index: this.#nextIndex++ };
    this.#links.set(added.name, added);
    this.#emit({ type: 'link', change: 'new', link: added });
    return added;
  }

  /** A device changes by itself or by somebody else's hand: the cable is pulled, the MAC is new. */
  changeLink(name: string, change: Partial<Omit<Link, 'index' | 'name'>>): void {
    const link = this.#links.get(name);
    if (link === undefined) throw new Error(`no device ${name}`);
    const changed = { ...link, ...change };
    this.#links.set(name, changed);
    this.#emit({ type: 'link', change: 'new', link: changed });
  }

  /** The same as {@link apply}, by somebody else: not in the journal, no fault. */
  applyAsOther(operations: readonly LinkOperation[]): void {
    for (const operation of operations) {
      const code = this.#apply(operation);
      if (code !== undefined) throw kernelError(`links.${operation.op}`, subjectOf(operation), code);
    }
  }

  async links(): Promise<readonly Link[]> {
    return this.#reading('links.links', () => [...this.#links.values()]);
  }

  async addresses(): Promise<readonly InterfaceAddress[]> {
    return this.#reading('links.addresses', () => [...this.#addresses]);
  }

  /** A route for {@link routeTo}; addresses without one are unreachable. */
  setRouteTo(address: string, way: RouteTo): void {
    this.#ways.set(address, way);
  }

  async routeTo(address: string): Promise<RouteTo> {
    return this.#reading('links.routeTo', () => {
      const way = this.#ways.get(address);
      if (way === undefined) throw kernelError('links.routeTo', address, 'ENETUNREACH');
      return way;
    });
  }

  async #reading<Result>(op: string, read: () => Result): Promise<Result> {
    await Promise.resolve();
    this.#journal.read();
    this.#faults.throwNext(op, 'rtnetlink');
    return read();
  }

  async apply(operations: readonly LinkOperation[]): Promise<ApplyResult<LinkOperation>> {
    await Promise.resolve();
    this.#faults.throwNext('links.apply', `${operations.length} operations`);
    const failed: Failure<LinkOperation>[] = [];
    for (const [index, operation] of operations.entries()) {
      const refused = this.#try(operation, index);
      const there = operation.op === 'addTunnel' && refused?.code === 'EEXIST' && this.#links.get(operation.name)?.kind === operation.kind;
      const error = there ? undefined : refused;
      this.#journal.write(`links.${operation.op}`, subjectOf(operation), error?.code);
      if (error !== undefined) failed.push({ index, operation, error });
    }
    return { applied: operations.length - failed.length, failed };
  }

  watch(groups: readonly LinkEvent['type'][], options: { signal?: AbortSignal } = {}): EventIterator<LinkEvent> {
    return new EventIterator<LinkEvent>((deliver) => {
      const filtered = (event: LinkEvent): void => {
        if (event.type === 'overrun' || groups.includes(event.type)) deliver(event);
      };
      this.#watchers.add(filtered);
      return Promise.resolve(() => this.#watchers.delete(filtered));
    }, options);
  }

  overrun(): void {
    this.#emit({ type: 'overrun' });
  }

  #emit(event: LinkEvent): void {
    for (const deliver of this.#watchers) deliver(event);
  }

  #try(operation: LinkOperation, index: number): KernelError | undefined {
    const op = `links.${operation.op}`;
    const injected = this.#faults.next(op, subjectOf(operation), index);
    if (injected instanceof KernelError) return injected;
    if (injected !== undefined) throw injected;
    const code = this.#apply(operation);
    return code === undefined ? undefined : kernelError(op, subjectOf(operation), code, index);
  }

  /** The errno name, or undefined when it took effect. */
  #apply(operation: LinkOperation): string | undefined {
    switch (operation.op) {
      case 'addDummy': {
        if (this.#links.has(operation.name)) return 'EEXIST';
        const { name, mtu = 1500, noArp = true, up = false } = operation;
        const link = this.addLink({ name, kind: 'dummy', mac: '02:00:00:00:00:01', mtu, up, running: up, noArp });
        if (up) this.#linkLocal(link);
        return undefined;
      }
      case 'addTunnel':
        return this.#addTunnel(operation.name, operation.kind);
      case 'deleteLink':
        return this.#deleteLink(operation.name);
      case 'setLink': {
        const link = this.#links.get(operation.name);
        if (link === undefined) return 'ENODEV';
        const { up = link.up, mtu = link.mtu, noArp = link.noArp } = operation;
        this.changeLink(link.name, { up, mtu, noArp, running: up });
        if (up && !link.up) this.#linkLocal(link);
        return undefined;
      }
      case 'addAddress':
        return this.#addAddress(operation);
      case 'deleteAddress':
        return this.#deleteAddress(operation);
      case 'addRoute':
      case 'deleteRoute':
        return this.#route(operation);
    }
  }

  /** Loading the module makes the device without addresses: what was asked for is there then, and down. */
  #addTunnel(name: string, kind: TunnelKind): string {
    if (this.#links.has(name)) return 'EEXIST';
    const fallback = { ipip: 'tunl0', ip6tnl: 'ip6tnl0', gre: 'gre0', ip6gre: 'ip6gre0' }[kind];
    if (!this.#fallbacks.has(fallback)) {
      this.#fallbacks.add(fallback);
      this.addLink({ name: fallback, kind, mac: '', mtu: 1480, up: false, running: false, noArp: true });
    }
    // ip_tunnel_newlink() finds the one without addresses: there is no second one.
    return 'EEXIST';
  }

  /** addrconf gives every device that comes up an address of its own. */
  #linkLocal({ index }: Link): void {
    if (this.#addresses.some(({ interfaceIndex, scope }) => interfaceIndex === index && scope === 'link')) return;
    this.#insert({
      interfaceIndex: index,
      address: `fe80::${index}`,
      prefix: 64,
      protocol: 0,
      scope: 'link',
      flags: PERMANENT,
      validSeconds: FOREVER,
      preferredSeconds: FOREVER,
    });
  }

  #insert(address: InterfaceAddress): void {
    this.#addresses.push(address);
    this.#emit({ type: 'address', change: 'new', address });
  }

  #remove(which: (address: InterfaceAddress) => boolean): void {
    const gone = this.#addresses.filter(which);
    this.#addresses = this.#addresses.filter((address) => !which(address));
    for (const address of gone) this.#emit({ type: 'address', change: 'deleted', address });
  }

  #deleteLink(name: string): string | undefined {
    const link = this.#links.get(name);
    if (link === undefined) return 'ENODEV';
    // ip_tunnel_dellink(): the module's own device stays, without an error.
    if (this.#fallbacks.has(name)) return undefined;
    this.#remove(({ interfaceIndex }) => interfaceIndex === link.index);
    this.#links.delete(name);
    this.#emit({ type: 'link', change: 'deleted', link });
    return undefined;
  }

  #addAddress(operation: LinkOperation & { op: 'addAddress' }): string | undefined {
    const link = this.#links.get(operation.interface);
    if (link === undefined) return 'ENODEV';
    const { address, prefix } = operation;
    const version6 = address.includes(':');
    if (prefix < 0 || prefix > (version6 ? 128 : 32)) return 'EINVAL';
    const held = this.#addresses.filter(
      ({ interfaceIndex, address: text }) => interfaceIndex === link.index && text.includes(':') === version6,
    );
    if (held.some((other) => other.address === address && (version6 || other.prefix === prefix))) return 'EEXIST';
    const secondary = !version6 && held.some((other) => (other.flags & SECONDARY) === 0 && sameSubnet(other, operation));
    const validSeconds = operation.validSeconds ?? FOREVER;
    this.#insert({
      interfaceIndex: link.index,
      address,
      prefix,
      protocol: this.keepsProtocol ? (operation.protocol ?? 0) : 0,
      scope: 'universe',
      flags: (secondary ? SECONDARY : 0) | (validSeconds === FOREVER ? PERMANENT : 0) | (operation.preferredSeconds === 0 ? DEPRECATED : 0),
      validSeconds,
      preferredSeconds: operation.preferredSeconds ?? FOREVER,
    });
    return undefined;
  }

  #deleteAddress({ interface: name, address, prefix }: LinkOperation & { op: 'deleteAddress' }): string | undefined {
    const link = this.#links.get(name);
    if (link === undefined) return 'ENODEV';
    const found = this.#addresses.find((held) => held.interfaceIndex === link.index && held.address === address && held.prefix === prefix);
    if (found === undefined) return 'EADDRNOTAVAIL';
    const primary = !address.includes(':') && (found.flags & SECONDARY) === 0;
    this.#remove((held) => held === found || (primary && isSecondaryOf(held, found)));
    return undefined;
  }

  #route(operation: LinkOperation & { op: 'addRoute' | 'deleteRoute' }): string | undefined {
    const index = operation.interface === undefined ? undefined : this.#links.get(operation.interface)?.index;
    if (operation.interface !== undefined && index === undefined) return 'ENODEV';
    const table = operation.table ?? 254;
    const at = this.#routes.findIndex(
      (route) => route.destination === operation.destination && route.prefix === operation.prefix && route.table === table,
    );
    if (operation.op === 'deleteRoute') {
      if (at < 0) return 'ESRCH';
      this.#routes.splice(at, 1);
      return undefined;
    }
    if (at >= 0) return 'EEXIST';
    this.#routes.push({
      family: operation.destination.includes(':') ? 'ipv6' : 'ipv4',
      destination: operation.destination,
      prefix: operation.prefix,
      gateway: operation.gateway,
      interfaceIndex: index,
      table,
      protocol: operation.protocol ?? 3,
      metric: operation.metric ?? 0,
      type: 1,
      scope: 0,
    });
    return undefined;
  }
}

/** inet_del_ifa() without promote_secondaries. */
function isSecondaryOf(held: InterfaceAddress, primary: InterfaceAddress): boolean {
  return (
    held.interfaceIndex === primary.interfaceIndex &&
    !held.address.includes(':') &&
    (held.flags & SECONDARY) !== 0 &&
    sameSubnet(held, primary)
  );
}
