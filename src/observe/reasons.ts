/**
 * Why something is not in force, told once per change: to the log, and to whoever else wants to know. What was told is
 * compared with what is, so a change that was held back is made up for later, or was none.
 */
import type { Address, ClusterState, Reason, ReasonCode, ServiceKey, StateChange, VirtualServiceKey } from '../model/cluster.ts';
import type { Clock } from '../model/clock.ts';
import type { Fields, Log } from './log.ts';

export type ReasonSubject =
  | { readonly kind: 'virtualService'; readonly key: VirtualServiceKey; readonly address: Address; readonly service: ServiceKey }
  /** `services` are those that it leads to. */
  | { readonly kind: 'vip'; readonly address: Address; readonly services: readonly ServiceKey[] };

export interface ReasonChange {
  readonly subject: ReasonSubject;
  /** Undefined: nothing stands in its way any more. */
  readonly reason: Reason | undefined;
  readonly before: ReasonCode | undefined;
  readonly state: ClusterState;
}

export interface ReasonJournalOptions {
  readonly log: Log;
  readonly clock: Clock;
  /** As of the last pass. */
  readonly reason: (key: VirtualServiceKey) => Reason | undefined;
  readonly vipReason: (address: Address) => Reason | undefined;
  /**
   * Told of each change that is logged, of those for which the log had no room, and when a subject with a reason is gone
   * from the configuration. Must not throw, nor take long.
   */
  readonly onChange?: (change: ReasonChange) => void;
}

/** One subject is told of so often in a minute; after that, when it has come to rest. */
const tellingsPerMinute = 4;
/** A cluster that comes up, or goes down, gets a sample and a number; `status` has them all. */
const burstOfLines = 40;
const millisecondsPerLine = 3000;
const millisecondsPerSummary = 10_000;
/** Subjects held back that one look goes through: what is left is for the next. */
const madeUpAtOnce = 256;

const minute = 60_000;

interface Told {
  /** As it was told; a virtual service may lead somewhere else by now. */
  readonly subject: ReasonSubject;
  code: ReasonCode | undefined;
  tellings: number;
  since: number;
}

/** What is part of every day: a pod that is not there yet, or somewhere else; a planned stop. */
const everyday: ReadonlySet<ReasonCode> = new Set(['NoEndpoints', 'NoLocalEndpoints', 'AwaitingNode', 'BgpDraining']);

/** A virtual service key never begins like this. */
const vipId = (address: Address): string => `vip ${address}`;

export class ReasonJournal {
  readonly #options: ReasonJournalOptions;
  /** Subjects that had a reason, or changed lately. */
  readonly #told = new Map<string, Told>();
  readonly #heldBack = new Set<string>();
  #state: ClusterState | undefined;
  #lines = burstOfLines;
  #refilledAt: number;
  #unlogged = 0;
  #summaryAt = Number.NEGATIVE_INFINITY;
  #services: { readonly state: ClusterState; readonly of: ReadonlyMap<Address, ReadonlySet<ServiceKey>> } | undefined;

  constructor(options: ReasonJournalOptions) {
    this.#options = options;
    this.#refilledAt = options.clock.now();
  }

  /** After a pass over `state`: costs what the pass was about. */
  update(state: ClusterState, change: StateChange): void {
    this.#state = state;
    if (change.all) {
      for (const key of state.virtualServices.keys()) this.#look(state, key);
      for (const address of state.addresses) this.#lookAtVip(state, address);
      this.#forgetGone(state);
    } else {
      const addresses = new Set<Address>();
      for (const key of change.virtualServices) {
        this.#look(state, key);
        const address = state.virtualServices.get(key)?.address;
        if (address !== undefined) addresses.add(address);
      }
      for (const address of addresses) this.#lookAtVip(state, address);
    }
    this.#makeUp(state);
    this.#summarise();
  }

  /** Something about these VIPs happened outside of a pass: an announcement failed, another host spoke up. */
  lookAt(addresses: Iterable<Address>): void {
    const state = this.#state;
    if (state === undefined) return;
    for (const address of addresses) this.#lookAtVip(state, address);
    this.#summarise();
  }

  #look(state: ClusterState, key: VirtualServiceKey): void {
    const virtualService = state.virtualServices.get(key);
    const told = this.#told.get(key)?.subject;
    const elsewhere = told?.kind === 'virtualService' && told.service !== virtualService?.service;
    if (virtualService === undefined || elsewhere) this.#forget(state, key);
    if (virtualService === undefined) return;
    const { address, service } = virtualService;
    this.#compare(state, key, this.#options.reason(key), () => ({ kind: 'virtualService', key, address, service }));
  }

  #lookAtVip(state: ClusterState, address: Address): void {
    this.#compare(state, vipId(address), this.#options.vipReason(address), () => ({
      ...{ kind: 'vip', address },
      services: [...this.#servicesAt(state, address)],
    }));
  }

  #compare(state: ClusterState, id: string, reason: Reason | undefined, subject: () => ReasonSubject): void {
    const told = this.#told.get(id);
    if (told?.code === reason?.code) {
      this.#heldBack.delete(id);
      return;
    }
    const now = this.#options.clock.now();
    const entry = told ?? { subject: subject(), code: undefined, tellings: 0, since: now };
    if (now - entry.since >= minute) {
      entry.tellings = 0;
      entry.since = now;
    }
    this.#told.set(id, entry);
    if (entry.tellings >= tellingsPerMinute) {
      this.#heldBack.add(id);
      return;
    }
    this.#heldBack.delete(id);
    entry.tellings += 1;
    const change: ReasonChange = { subject: entry.subject, reason, before: entry.code, state };
    entry.code = reason?.code;
    this.#write(change, now);
    this.#options.onChange?.(change);
  }

  #write({ subject, reason, before }: ReasonChange, now: number): void {
    this.#lines = Math.min(burstOfLines, this.#lines + (now - this.#refilledAt) / millisecondsPerLine);
    this.#refilledAt = now;
    if (this.#lines < 1) {
      this.#unlogged += 1;
      return;
    }
    this.#lines -= 1;
    const { log } = this.#options;
    const where: Fields =
      subject.kind === 'vip'
        ? { vip: subject.address, service: subject.services[0] }
        : { vip: subject.address, virtualService: subject.key, service: subject.service };
    const name = subject.kind === 'vip' ? subject.address : subject.key;
    if (reason === undefined) log.info(`${name}: in force`, { was: before, ...where });
    else log[everyday.has(reason.code) ? 'info' : 'warn'](`${name}: ${reason.message}`, { reason: reason.code, ...where });
  }

  #summarise(): void {
    const { clock, log } = this.#options;
    if (this.#unlogged === 0 || clock.now() < this.#summaryAt) return;
    this.#summaryAt = clock.now() + millisecondsPerSummary;
    log.info('more reasons have changed than are worth a line each; see status', { changes: this.#unlogged });
    this.#unlogged = 0;
  }

  #makeUp(state: ClusterState): void {
    let left = madeUpAtOnce;
    for (const id of this.#heldBack) {
      if (left === 0) return;
      left -= 1;
      if (id.startsWith('vip ')) this.#lookAtVip(state, id.slice(4));
      else this.#look(state, id);
    }
  }

  #forget(state: ClusterState, id: string): void {
    const told = this.#told.get(id);
    this.#told.delete(id);
    this.#heldBack.delete(id);
    if (told?.code !== undefined) this.#options.onChange?.({ subject: told.subject, reason: undefined, before: told.code, state });
  }

  /** One walk through all for each state in which the reason of any VIP changes. */
  #servicesAt(state: ClusterState, address: Address): ReadonlySet<ServiceKey> {
    if (this.#services?.state !== state) {
      const of = new Map<Address, Set<ServiceKey>>();
      for (const { address: vip, service } of state.virtualServices.values()) of.set(vip, (of.get(vip) ?? new Set()).add(service));
      this.#services = { state, of };
    }
    return this.#services.of.get(address) ?? new Set();
  }

  #forgetGone(state: ClusterState): void {
    const now = this.#options.clock.now();
    const addresses = new Set(state.addresses);
    for (const [id, { code, since }] of this.#told) {
      const there = id.startsWith('vip ') ? addresses.has(id.slice(4)) : state.virtualServices.has(id);
      if (!there || (code === undefined && !this.#heldBack.has(id) && now - since >= minute)) this.#forget(state, id);
    }
  }
}
