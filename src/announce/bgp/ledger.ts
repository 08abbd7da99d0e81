/**
 * What is wanted of the daemon, what it is known to hold, and which prefixes are to be looked at. No I/O: the speaker
 * asks what is to be done, does it, and tells what came of it.
 */
import { hostOf, hostPrefix, Routing, samePath, shuttingDown } from '../../desired/bgp.ts';
import type { BgpConfig, BgpPath, RouteOptions } from '../../model/bgp.ts';
import type { Address } from '../../model/cluster.ts';
import { Alterations, type Alteration } from './alterations.ts';

export interface PathWork {
  /** First: somebody may wait for these before a VIP is dismantled. */
  readonly withdraw: readonly string[];
  readonly add: readonly BgpPath[];
}

/** On the way to a planned stop: routes say that they are about to go, and then are gone. */
export type Phase = 'announcing' | 'draining' | 'drained';

export class RouteLedger {
  readonly #options: RouteOptions;
  #routing: Routing;
  #phase: Phase = 'announcing';
  /** VIP → its prefix, of those wanted. */
  readonly #vips = new Map<Address, string>();
  /** Prefix → VIPs that it stands for; none is empty. */
  readonly #members = new Map<string, Set<Address>>();
  /** Ours in the daemon; undefined: not known. */
  #held: Map<string, BgpPath> | undefined;
  /** Prefixes held that nobody wants. */
  readonly #leftovers = new Set<string>();
  /** Prefixes that were taken back by name. */
  readonly #released = new Set<string>();
  #stays: ((address: Address) => boolean) | undefined;
  /** VIPs were named after it was said which stay: an aggregate without any by then is not coming back. */
  #named = false;
  #dirty = new Set<string>();
  /** A call about these is under way. */
  readonly #writing = new Set<string>();
  readonly #alterations = new Alterations();

  constructor(options: RouteOptions) {
    this.#options = options;
    this.#routing = new Routing(options, undefined);
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** It was said which VIPs stay. */
  get swept(): boolean {
    return this.#stays !== undefined;
  }

  /** Something is to be written, or being written. */
  get busy(): boolean {
    return this.#dirty.size > 0 || this.#writing.size > 0;
  }

  /** The daemon has nothing of ours. */
  get empty(): boolean {
    return this.#held?.size === 0;
  }

  /** What the daemon may have of ours, as far as this process knows. */
  get prefixes(): string[] {
    return [...new Set([...this.#members.keys(), ...(this.#held?.keys() ?? []), ...this.#released])];
  }

  /** What the daemon has is known. */
  get known(): boolean {
    return this.#held !== undefined;
  }

  get addresses(): Iterable<Address> {
    return this.#vips.keys();
  }

  /** Number of prefixes wanted. */
  get wanted(): number {
    return this.#phase === 'drained' ? 0 : this.#members.size;
  }

  /** How many of them the daemon has. */
  get announced(): number {
    return this.#held === undefined ? 0 : this.#held.size - this.#leftovers.size;
  }

  get pending(): boolean {
    return this.#dirty.size > 0;
  }

  prefixOf(address: Address): string | undefined {
    return this.#vips.get(address);
  }

  vipsOf(prefix: string): Iterable<Address> {
    return this.#members.get(prefix) ?? [];
  }

  wants(prefix: string): boolean {
    return this.#members.has(prefix);
  }

  holds(prefix: string): boolean {
    return this.#held?.has(prefix) ?? false;
  }

  /** It is there, or is being written, or nobody knows. */
  mayBeThere(prefix: string): boolean {
    return this.#held === undefined || this.#held.has(prefix) || this.#writing.has(prefix);
  }

  /** What nobody wants any more and is to go, or is on its way. */
  departing(): string[] {
    const going = [...this.#leftovers].filter((prefix) => this.#mayGo(prefix));
    return [...new Set([...going, ...[...this.#writing].filter((prefix) => !this.#members.has(prefix))])];
  }

  configure(config: BgpConfig | undefined): void {
    this.#routing = new Routing(this.#options, config);
    for (const prefix of this.#members.keys()) this.#dirty.add(prefix);
  }

  enter(phase: Phase): void {
    this.#phase = phase;
    for (const prefix of [...this.#members.keys(), ...this.#leftovers]) this.#dirty.add(prefix);
  }

  announce(addresses: Iterable<Address>): void {
    if (this.#stays !== undefined && !this.#named) {
      this.#named = true;
      this.#lookAtLeftovers();
    }
    for (const address of addresses) {
      if (this.#vips.has(address)) continue;
      const prefix = this.#routing.prefixOf(address);
      this.#vips.set(address, prefix);
      this.#members.set(prefix, (this.#members.get(prefix) ?? new Set()).add(address));
      this.#leftovers.delete(prefix);
      this.#released.delete(prefix);
      this.#dirty.add(prefix);
      if (this.#leftovers.has(hostPrefix(address))) this.#dirty.add(hostPrefix(address));
    }
  }

  /** Returns prefixes that stood for nobody else, and may still be there. */
  withdraw(addresses: Iterable<Address>): string[] {
    const gone: string[] = [];
    for (const address of addresses) {
      // One that this process never announced may be there from an earlier one.
      const prefix = this.#unwant(address) ?? hostPrefix(address);
      if (this.#members.has(prefix) || !this.mayBeThere(prefix)) continue;
      this.#released.add(prefix);
      this.#dirty.add(prefix);
      gone.push(prefix);
    }
    return gone;
  }

  /** The same for all that do not stay; what an earlier process left is in {@link departing} once it is known. */
  withdrawOthers(stays: (address: Address) => boolean): string[] {
    this.#stays = stays;
    const gone = this.withdraw([...this.#vips.keys()].filter((address) => !stays(address)));
    this.#lookAtLeftovers();
    return gone;
  }

  /** The daemon's own list, of {@link prefixes} at least. Returns what has become of routes that were written. */
  listed(ours: ReadonlyMap<string, BgpPath>): readonly Alteration[] {
    const held = new Map(ours);
    const altered: Alteration[] = [];
    this.#alterations.retain(held);
    for (const [prefix, seen] of ours) {
      const wanted = this.#members.has(prefix) ? this.#target(prefix, seen) : undefined;
      const alteration = this.#alterations.compare(wanted, this.#held?.get(prefix), seen);
      if (alteration === undefined) continue;
      altered.push(alteration);
      if (alteration !== 'mended' && wanted !== undefined) held.set(prefix, wanted);
    }
    this.#held = held;
    this.#leftovers.clear();
    for (const prefix of held.keys()) if (!this.#members.has(prefix)) this.#leftovers.add(prefix);
    for (const prefix of this.#released) if (!this.#leftovers.has(prefix)) this.#released.delete(prefix);
    this.#dirty = new Set([...this.#members.keys(), ...this.#leftovers]);
    return altered;
  }

  /** What the daemon has is not known any more. */
  forget(): void {
    this.#held = undefined;
    this.#leftovers.clear();
    this.#writing.clear();
  }

  /**
   * What is to be written now, at most `limit` routes, either to take back or to add: what is to be added may be wanted no more when that
   * is done. To be answered by {@link wrote} or {@link forget}.
   */
  take(limit: number): PathWork {
    const held = this.#held;
    if (held === undefined) return { withdraw: [], add: [] };
    const withdraw: string[] = [];
    const replaced: string[] = [];
    const add: BgpPath[] = [];
    for (const prefix of this.#dirty) {
      const there = held.get(prefix);
      const wanted = this.#target(prefix, there);
      if (wanted !== undefined && (there === undefined || !samePath(wanted, there))) add.push(wanted);
      else if (wanted !== undefined || there === undefined) this.#settle(prefix, there);
      else if (this.#phase === 'drained' || this.#isUrgent(prefix)) withdraw.push(prefix);
      // What another route takes the place of goes after that is there.
      else replaced.push(prefix);
    }
    if (withdraw.length > 0) return { withdraw: this.#begin(withdraw.slice(0, limit)), add: [] };
    if (add.length === 0) return { withdraw: this.#begin(replaced.slice(0, limit)), add: [] };
    const first = add.slice(0, limit);
    this.#begin(first.map((path) => path.prefix));
    return { withdraw: [], add: first };
  }

  /** What came of {@link take}; `refused` is as it was before. */
  wrote(outcome: { readonly withdrawn: Iterable<string>; readonly added: Iterable<BgpPath>; readonly refused: Iterable<string> }): void {
    const held = this.#held;
    if (held === undefined) return;
    for (const prefix of outcome.refused) this.#writing.delete(prefix);
    for (const prefix of outcome.withdrawn) {
      this.#writing.delete(prefix);
      this.#leftovers.delete(prefix);
      this.#released.delete(prefix);
      held.delete(prefix);
    }
    let fresh = false;
    for (const path of outcome.added) {
      this.#writing.delete(path.prefix);
      fresh ||= !held.has(path.prefix);
      held.set(path.prefix, path);
      if (!this.#members.has(path.prefix)) this.#leftovers.add(path.prefix);
    }
    if (fresh) this.#lookAtLeftovers();
  }

  #begin(prefixes: readonly string[]): readonly string[] {
    for (const prefix of prefixes) {
      this.#dirty.delete(prefix);
      this.#writing.add(prefix);
    }
    return prefixes;
  }

  /** There is nothing to do about it. */
  #settle(prefix: string, there: BgpPath | undefined): void {
    this.#dirty.delete(prefix);
    if (there === undefined) this.#released.delete(prefix);
  }

  /** The route that is to be there; undefined: none. */
  #target(prefix: string, there: BgpPath | undefined): BgpPath | undefined {
    if (this.#phase === 'drained') return undefined;
    const members = this.#members.get(prefix);
    const path = members === undefined ? (this.#mayGo(prefix) ? undefined : there) : this.#routing.path(prefix, members);
    return path !== undefined && this.#phase === 'draining' ? shuttingDown(path) : path;
  }

  /** Somebody said that it is to go, rather than that others take its place. */
  #isUrgent(prefix: string): boolean {
    const host = hostOf(prefix);
    return this.#released.has(prefix) || (host !== undefined && !this.#vips.has(host));
  }

  /** Of a prefix that nobody wants. Until it was said what stays, everything does. */
  #mayGo(prefix: string): boolean {
    if (this.#stays === undefined) return false;
    if (this.#released.has(prefix)) return true;
    const host = hostOf(prefix);
    if (host === undefined) return this.#named;
    const instead = this.#vips.get(host);
    return instead === undefined ? !this.#stays(host) : this.holds(instead);
  }

  #lookAtLeftovers(): void {
    for (const prefix of this.#leftovers) this.#dirty.add(prefix);
  }

  /** Returns its prefix when it was wanted. */
  #unwant(address: Address): string | undefined {
    const prefix = this.#vips.get(address);
    if (prefix === undefined) return undefined;
    this.#vips.delete(address);
    this.#dirty.add(prefix);
    const members = this.#members.get(prefix);
    members?.delete(address);
    if (members?.size === 0) {
      this.#members.delete(prefix);
      if (this.holds(prefix)) this.#leftovers.add(prefix);
    }
    return prefix;
  }
}
