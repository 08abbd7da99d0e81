/**
 * Which backend writes the rules, and the end of what the other one left. A machine has the rules of one backend only,
 * but for the moment of a change: then the new rules are written first, and the old ones go in the same pass. A
 * connection that began under the old ones keeps its pod, since the kernel asks rules about first packets only.
 */
import type { DesiredNat, DesiredNatService } from '../desired/types.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import { UnsupportedError } from '../native/errors.ts';
import type { Kernel } from './kernel.ts';
import type { NatBackend, NatBackendKind, NatBackendPlan, NatChangeText, NatChosen } from './nat-backend.ts';
import { NatDriver } from './nat.ts';
import { IptablesNat } from './nat-iptables.ts';
import { failureOf, type DriverFailure, type DriverOutcome } from './outcome.ts';

export type { NatChosen };

export type NatBackendAsked = 'auto' | NatBackendKind;

export interface NatChoiceOptions {
  readonly asked: NatBackendAsked;
  /** Prefix of the chains of the iptables backend. */
  readonly chainPrefix: string;
}

/** What the other backend left, on its way out. */
interface Leftovers {
  readonly held: ReadonlyMap<VirtualServiceKey, DesiredNatService>;
  readonly removal: NatBackendPlan;
}

/** A plan of {@link NatChoice}: that of the backend, and the removal of what the other one left. */
class ChoicePlan implements NatBackendPlan {
  readonly services: NatBackendPlan['services'];
  readonly own: NatBackendPlan;
  readonly leftovers: NatBackendPlan | undefined;
  readonly failures: readonly DriverFailure[];
  readonly #others: NatBackendKind;

  constructor(
    own: NatBackendPlan,
    others: NatBackendKind,
    leftovers: NatBackendPlan | undefined,
    rest: Pick<ChoicePlan, 'services' | 'failures'>,
  ) {
    this.own = own;
    this.leftovers = leftovers;
    this.services = rest.services;
    this.failures = rest.failures;
    this.#others = others;
  }

  get empty(): boolean {
    return this.own.empty && (this.leftovers?.empty ?? true);
  }

  changes(): readonly NatChangeText[] {
    const others = (this.leftovers?.changes() ?? []).map((change) => ({ ...change, kind: this.#others }));
    return [...this.own.changes(), ...others];
  }
}

const isUnsupported = (error: unknown): error is UnsupportedError => error instanceof UnsupportedError;

/** Why the kernel does not have what is asked; undefined when it does. Rejects with any other error. */
async function unsupported(ask: () => Promise<unknown>): Promise<UnsupportedError | undefined> {
  try {
    await ask();
    return undefined;
  } catch (error) {
    if (isUnsupported(error)) return error;
    throw error;
  }
}

export class NatChoice implements NatBackend {
  readonly #asked: NatBackendAsked;
  readonly #kernel: Pick<Kernel, 'nftables' | 'iptables'>;
  readonly #nftables: NatBackend;
  readonly #iptables: IptablesNat;
  #choosing: Promise<NatChosen> | undefined;
  #chosen: NatChosen | undefined;
  #leftovers: Leftovers | undefined;
  /** Nothing of the other backend is here: seen once, that stays so. */
  #swept = false;
  #looked = false;
  #unseen: unknown;
  #warning: string | undefined;

  constructor(kernel: Pick<Kernel, 'nftables' | 'iptables'>, { asked, chainPrefix }: NatChoiceOptions) {
    this.#asked = asked;
    this.#kernel = kernel;
    this.#nftables = new NatDriver(kernel.nftables);
    this.#iptables = new IptablesNat({ tables: kernel.iptables, chainPrefix });
  }

  /** Before the choice: what was asked for, or nftables. */
  get kind(): NatBackendKind {
    return this.settled ?? 'nftables';
  }

  /** Undefined while it depends on the kernel and was not made. */
  get settled(): NatBackendKind | undefined {
    return this.#asked === 'auto' ? this.#chosen?.kind : this.#asked;
  }

  /** Undefined until it was made. */
  get chosen(): NatChosen | undefined {
    return this.#chosen;
  }

  /** What cannot be said about the other backend; for `status`. */
  get warnings(): readonly string[] {
    return this.#warning === undefined ? [] : [this.#warning];
  }

  /** Once; a choice that could not be made is made anew. UnsupportedError where this machine has neither, or not the one asked for. */
  choose(): Promise<NatChosen> {
    this.#choosing ??= this.#choose().then(
      (chosen) => (this.#chosen = chosen),
      (error: unknown) => {
        this.#choosing = undefined;
        throw error;
      },
    );
    return this.#choosing;
  }

  async #choose(): Promise<NatChosen> {
    if (this.#asked === 'nftables') return { kind: 'nftables', reason: 'asked for' };
    if (this.#asked === 'iptables') {
      await this.#iptables.probe();
      return { kind: 'iptables', reason: 'asked for' };
    }
    const without = await unsupported(() => this.#kernel.nftables.generation());
    if (without === undefined) return { kind: 'nftables', reason: 'this kernel has nf_tables' };
    const neither = await unsupported(() => this.#iptables.probe());
    if (neither === undefined) return { kind: 'iptables', reason: `no nftables here (${without.message})` };
    throw new UnsupportedError(`nftables (${without.message}) and legacy iptables (${neither.message})`, 'modprobe nf_tables');
  }

  get #own(): NatBackend {
    return this.kind === 'nftables' ? this.#nftables : this.#iptables;
  }

  get #other(): NatBackend {
    return this.kind === 'nftables' ? this.#iptables : this.#nftables;
  }

  get known(): boolean {
    return this.#chosen !== undefined && this.#own.known;
  }

  get size(): number {
    let others = 0;
    for (const key of this.#leftovers?.held.keys() ?? []) if (this.#own.heldAt(key) === undefined) others += 1;
    return this.#own.size + others;
  }

  async connections(): Promise<ReadonlyMap<VirtualServiceKey, number>> {
    await this.choose();
    return this.#own.connections();
  }

  programmed(key: VirtualServiceKey): boolean {
    return this.#own.programmed(key);
  }

  forget(): void {
    this.#own.forget();
    this.#other.forget();
    this.#leftovers = undefined;
    this.#looked = false;
  }

  async observe(): Promise<void> {
    await this.choose();
    await this.#own.observe();
    await this.#lookAtOthers();
  }

  /** Until there is nothing. Failures do not keep our own rules from being written. */
  async #lookAtOthers(): Promise<void> {
    if (this.#swept || this.#looked) return;
    this.#looked = true;
    this.#unseen = undefined;
    this.#warning = undefined;
    const other = this.#other;
    try {
      other.forget();
      await other.observe();
      const removal = await other.removal();
      if (removal.empty) this.#swept = true;
      else this.#leftovers = { held: new Map([...other.held()].map((service) => [service.key, service])), removal };
    } catch (error) {
      // Without nf_tables there are no rules in it. Legacy tables may be there although this build cannot read them.
      if (!isUnsupported(error)) this.#unseen = error;
      else {
        this.#swept = true;
        if (other.kind === 'iptables')
          this.#warning = `rules that the iptables backend may have left cannot be looked for: ${error.message}`;
      }
    }
  }

  /** What the other backend left counts until it is gone: whoever guards removals has to see all of them. */
  *held(): Iterable<DesiredNatService> {
    yield* this.#own.held();
    for (const [key, service] of this.#leftovers?.held ?? []) if (this.#own.heldAt(key) === undefined) yield service;
  }

  heldAt(key: VirtualServiceKey): DesiredNatService | undefined {
    return this.#own.heldAt(key) ?? this.#leftovers?.held.get(key);
  }

  insideAt(key: VirtualServiceKey): DesiredNatService | undefined {
    return this.#own.insideAt(key);
  }

  async plan(desired: DesiredNat, keys?: ReadonlySet<VirtualServiceKey>): Promise<NatBackendPlan> {
    await this.observe();
    const own = await this.#own.plan(desired, keys);
    const failures = this.#unseen === undefined ? [] : [this.#failure(this.#unseen)];
    if (keys !== undefined) return new ChoicePlan(own, this.#other.kind, undefined, { services: own.services, failures: [] });
    const lost = [...(this.#leftovers?.held.keys() ?? [])].filter(
      (key) => !desired.services.has(key) && this.#own.heldAt(key) === undefined,
    );
    const services = [...own.services, ...lost.map((key) => ({ key, change: 'remove' as const }))];
    services.sort((a, b) => (a.key < b.key ? -1 : 1));
    return new ChoicePlan(own, this.#other.kind, this.#leftovers?.removal, { services, failures });
  }

  /** Of both backends. */
  async removal(): Promise<NatBackendPlan> {
    await this.observe();
    const own = await this.#own.removal();
    const failures = this.#unseen === undefined ? [] : [this.#failure(this.#unseen)];
    return new ChoicePlan(own, this.#other.kind, this.#leftovers?.removal, { services: own.services, failures });
  }

  #failure(error: unknown): DriverFailure {
    return failureOf(error, 'nat.sweep', `rules of the ${this.#other.kind} backend`);
  }

  async apply(plan: NatBackendPlan): Promise<DriverOutcome> {
    if (!(plan instanceof ChoicePlan)) throw new TypeError('a plan of another backend');
    const outcome = await this.#own.apply(plan.own);
    const failures = [...outcome.failures, ...plan.failures];
    // Ours are not all there yet: then those of the other one still carry connections. What never can be there keeps nothing.
    const pending = outcome.failures.some(({ code }) => code !== 'UnsupportedError');
    if (plan.leftovers === undefined || pending) return { written: outcome.written, failures };
    this.#leftovers = undefined;
    try {
      const swept = await this.#other.apply(plan.leftovers);
      this.#swept = swept.failures.length === 0;
      return { written: outcome.written + swept.written, failures: [...failures, ...swept.failures] };
    } catch (error) {
      return { written: outcome.written, failures: [...failures, this.#failure(error)] };
    }
  }
}
