/**
 * Translation rules on a director: shares of pods that run on it, and masquerading of what IPVS sends to pods. A director
 * that needs neither looks once for what an earlier configuration left, and never again.
 */
import { leavesSome } from '../desired/colocation.ts';
import type { DesiredNat, DesiredNatService, MasqueradePolicy, NatServiceId } from '../desired/types.ts';
import type { NatBackend, NatBackendPlan } from '../drivers/nat-backend.ts';
import { failureOf, nothingDone, type DriverOutcome } from '../drivers/outcome.ts';
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import { UnsupportedError } from '../native/errors.ts';

export interface DirectorRulesOptions {
  readonly nat: NatBackend;
  /** Pods here get their share. */
  readonly colocated: boolean;
  readonly masquerade: MasqueradePolicy;
  /** Interfaces on which packets of clients outside come in. */
  readonly outside: readonly string[];
  readonly counters: boolean;
}

/** What the rules are made from. */
export interface RulesTarget {
  readonly local: ReadonlyMap<VirtualServiceKey, DesiredNatService>;
  readonly inside: ReadonlyMap<VirtualServiceKey, DesiredNatService>;
  readonly masqueraded: ReadonlyMap<VirtualServiceKey, NatServiceId>;
}

export interface RulesAsked {
  readonly target: RulesTarget;
  readonly addresses: ReadonlySet<Address>;
  /** The configuration has virtual services that need rules. */
  readonly needed: boolean;
  /** Stay as they are, whatever is asked. */
  readonly held: ReadonlySet<VirtualServiceKey>;
  /** Of virtual services that are held and not asked for any more. */
  readonly heldMasqueraded: ReadonlyMap<VirtualServiceKey, NatServiceId>;
  /** Only these are looked at; absent: all. */
  readonly keys?: ReadonlySet<VirtualServiceKey> | undefined;
}

/** What is to be done before IPVS changes, and what after. */
export interface RulesPlan {
  readonly before: NatBackendPlan | undefined;
  /** Worked out when it is its turn: it depends on what was done before. */
  readonly after: { readonly desired: DesiredNat; readonly keys: ReadonlySet<VirtualServiceKey> | undefined } | 'removal' | undefined;
}

const nothingPlanned: RulesPlan = { before: undefined, after: undefined };

type Services = ReadonlyMap<VirtualServiceKey, DesiredNatService>;

/** Shares that are left over for IPVS. */
const left = ({ pods, slots = pods.length }: DesiredNatService): number => slots - pods.length;

/**
 * On the way from one share to another IPVS must never get connections that it has nobody for, so the rules leave
 * over no more than before and after; undefined: not yet.
 */
export function onTheWay(before: DesiredNatService | undefined, after: DesiredNatService): DesiredNatService | undefined {
  if (before === undefined) return leavesSome(after) ? undefined : after;
  if (left(before) >= left(after)) return after;
  const { slots: _, ...rest } = after;
  return left(before) === 0 ? rest : { ...rest, slots: after.pods.length + left(before) };
}

export class DirectorRules {
  readonly #options: DirectorRulesOptions;
  /** It was seen that nothing is left of an earlier configuration, or that cannot be seen. */
  #swept = false;
  #used = false;
  /** In the rules, as far as this process knows. */
  #addresses: ReadonlySet<Address> = new Set();
  readonly #masqueraded = new Map<VirtualServiceKey, NatServiceId>();
  #list: { readonly of: ReadonlySet<Address>; readonly list: readonly Address[] } | undefined;
  #warnings: readonly string[] = [];
  /** Translated when this process first looked. */
  #found: readonly DesiredNatService[] | undefined;
  #onUse: () => void = () => {};
  /** Resolves when there is something in the rules to look after. */
  readonly used = new Promise<void>((resolve) => (this.#onUse = resolve));

  constructor(options: DirectorRulesOptions) {
    this.#options = options;
  }

  get colocated(): boolean {
    return this.#options.colocated;
  }

  get kind(): NatBackend['kind'] {
    return this.#options.nat.kind;
  }

  get warnings(): readonly string[] {
    return this.#used ? (this.#options.nat.warnings ?? []) : this.#warnings;
  }

  /** Why it is this backend; undefined while none is needed. */
  get chosen(): NatBackend['chosen'] {
    return this.#used ? this.#options.nat.chosen : undefined;
  }

  /** What was translated when this process first looked and is not among `flows`. */
  former(flows: ReadonlyMap<VirtualServiceKey, unknown>): readonly DesiredNatService[] {
    return (this.#found ?? []).filter(({ key }) => !flows.has(key));
  }

  /** They are looked after. */
  get inUse(): boolean {
    return this.#used;
  }

  /** A change of a few virtual services can be planned without a look at everything. */
  get known(): boolean {
    return this.#used ? this.#options.nat.known : this.#swept;
  }

  forget(): void {
    this.#options.nat.forget();
  }

  /** Pods here have a share in force. */
  holds(key: VirtualServiceKey): boolean {
    return this.#used && this.#options.nat.heldAt(key) !== undefined;
  }

  programmed(key: VirtualServiceKey): boolean {
    return this.#used && this.#options.nat.programmed(key);
  }

  /** Shares in force. */
  get shares(): readonly DesiredNatService[] {
    return this.#used && this.#options.nat.known ? [...this.#options.nat.held()] : [];
  }

  get keys(): readonly VirtualServiceKey[] {
    return this.shares.map(({ key }) => key);
  }

  get size(): number {
    return this.#used ? this.#options.nat.size : 0;
  }

  shareOf(key: VirtualServiceKey): readonly DesiredNatService[] {
    const share = this.#used ? this.#options.nat.heldAt(key) : undefined;
    return share === undefined ? [] : [share];
  }

  /** `needed`: virtual services ask for rules. Rejects when rules that are needed cannot be read. */
  async observe(needed: boolean): Promise<void> {
    const used = needed || this.#options.colocated;
    if (!used && !this.#used && this.#swept) return;
    try {
      await this.#options.nat.observe();
      if (used) this.#use();
      if (this.#options.colocated) this.#found ??= [...this.#options.nat.held()];
    } catch (error) {
      if (used || this.#used) throw error;
      this.#swept = true;
      // Where there can be no rules there are none left.
      if (error instanceof UnsupportedError) return;
      const { message } = failureOf(error, 'nat.observe', 'translation rules');
      this.#warnings = [`rules that an earlier configuration may have left cannot be looked for: ${message}`];
    }
  }

  #use(): void {
    this.#used = true;
    this.#swept = false;
    this.#warnings = [];
    this.#onUse();
  }

  /** `tracked`: IPVS lets its connections be seen, so that only the first packet of each draws a share. */
  async plan(asked: RulesAsked, tracked: boolean): Promise<RulesPlan> {
    const { nat } = this.#options;
    if (!this.#used && asked.heldMasqueraded.size > 0) {
      await nat.observe();
      this.#use();
    }
    if (!this.#used) {
      if (this.#swept) return nothingPlanned;
      const removal = await nat.removal();
      return { before: removal.empty ? undefined : removal, after: undefined };
    }
    const { keys, held } = asked;
    if (keys === undefined && this.#isOver(asked)) return { before: undefined, after: 'removal' };
    const after = this.#desired(asked, tracked);
    const early = new Map<VirtualServiceKey, DesiredNatService | undefined>();
    for (const key of keys ?? new Set([...after.services.keys(), ...[...nat.held()].map((service) => service.key)])) {
      const wanted = after.services.get(key);
      if (wanted !== undefined && held.has(key)) continue;
      const now = nat.heldAt(key);
      const meanwhile = wanted === undefined ? now : onTheWay(now, wanted);
      if (meanwhile !== wanted) early.set(key, meanwhile);
    }
    const still = this.#stillMasqueraded(after, keys);
    const gone = keys === undefined ? [...this.#addresses].filter((address) => !asked.addresses.has(address)) : [];
    const plan = await nat.plan(
      {
        ...{ ...after, services: early.size === 0 ? after.services : overlaid(after.services, early) },
        ...(still.size === 0 ? {} : { masqueraded: new Map([...(after.masqueraded ?? []), ...still]) }),
        ...(gone.length === 0 ? {} : { addresses: [...after.addresses, ...gone] }),
      },
      keys,
    );
    const shrinks = still.size + gone.length > 0;
    const later = shrinks ? keys : new Set(early.keys());
    return {
      before: plan.empty ? undefined : plan,
      after: early.size === 0 && !shrinks ? undefined : { desired: after, keys: later },
    };
  }

  /** Nobody needs rules any more. */
  #isOver({ needed, heldMasqueraded }: RulesAsked): boolean {
    return !this.#options.colocated && !needed && heldMasqueraded.size === 0;
  }

  /** Masqueraded until IPVS has let go of them. */
  #stillMasqueraded({ masqueraded }: DesiredNat, keys: ReadonlySet<VirtualServiceKey> | undefined): Map<VirtualServiceKey, NatServiceId> {
    const still = new Map<VirtualServiceKey, NatServiceId>();
    for (const key of keys ?? this.#masqueraded.keys()) {
      const id = masqueraded?.has(key) === true ? undefined : this.#masqueraded.get(key);
      if (id !== undefined) still.set(key, id);
    }
    return still;
  }

  /** For `plan`: all that one pass would do to the rules in the end. */
  async preview(asked: RulesAsked): Promise<NatBackendPlan | undefined> {
    const { nat } = this.#options;
    if (this.#used && !this.#isOver(asked)) return nat.plan(this.#desired(asked, true));
    return this.#swept ? undefined : nat.removal();
  }

  #desired({ target, addresses, held, heldMasqueraded }: RulesAsked, tracked: boolean): DesiredNat {
    const { masquerade, outside, counters, colocated: openingOnly } = this.#options;
    if (this.#list?.of !== addresses) this.#list = { of: addresses, list: [...addresses] };
    return {
      ...{ services: this.#services(target, held, tracked), addresses: this.#list.list, masquerade, counters },
      ...{ inside: target.inside, outside, openingOnly },
      masqueraded: heldMasqueraded.size === 0 ? target.masqueraded : new Map([...target.masqueraded, ...heldMasqueraded]),
    };
  }

  #services({ local }: RulesTarget, held: ReadonlySet<VirtualServiceKey>, tracked: boolean): Services {
    if (held.size === 0 && tracked) return local;
    const services = new Map<VirtualServiceKey, DesiredNatService>();
    for (const [key, service] of local) if (!held.has(key) && (tracked || !leavesSome(service))) services.set(key, service);
    for (const key of held) {
      const service = this.#options.nat.heldAt(key);
      if (service !== undefined) services.set(key, service);
    }
    return services;
  }

  /** What goes before IPVS. A refusal is no reason to leave IPVS as it is: it is told, and tried again with the next pass. */
  async applyBefore({ before }: RulesPlan): Promise<DriverOutcome> {
    const outcome = before === undefined ? nothingDone : await this.#apply(before);
    if (!this.#used && outcome.failures.length === 0) {
      this.#swept = true;
      this.forget();
    }
    return outcome;
  }

  /** What goes after it, unless something went wrong before. */
  async applyAfter({ after }: RulesPlan, asked: RulesAsked, early: DriverOutcome): Promise<DriverOutcome> {
    if (early.failures.length > 0) return nothingDone;
    const { nat } = this.#options;
    try {
      const plan = after === undefined ? undefined : await (after === 'removal' ? nat.removal() : nat.plan(after.desired, after.keys));
      const outcome = plan === undefined || plan.empty ? nothingDone : await this.#apply(plan);
      if (outcome.failures.length > 0) return outcome;
      this.#remember(asked);
      if (after === 'removal') this.#unuse();
      return outcome;
    } catch (error) {
      return this.#failed(error);
    }
  }

  #unuse(): void {
    this.#used = false;
    this.#swept = true;
    this.forget();
  }

  #remember({ target, addresses, heldMasqueraded, keys }: RulesAsked): void {
    this.#addresses = addresses;
    for (const key of keys ?? new Set([...this.#masqueraded.keys(), ...target.masqueraded.keys(), ...heldMasqueraded.keys()])) {
      const id = target.masqueraded.get(key) ?? heldMasqueraded.get(key);
      if (id === undefined) this.#masqueraded.delete(key);
      else this.#masqueraded.set(key, id);
    }
  }

  async #apply(plan: NatBackendPlan): Promise<DriverOutcome> {
    try {
      return await this.#options.nat.apply(plan);
    } catch (error) {
      return this.#failed(error);
    }
  }

  #failed(error: unknown): DriverOutcome {
    this.forget();
    return { written: 0, failures: [failureOf(error, 'nat.apply', 'translation rules')] };
  }
}

/** `services`, with what is in `instead` in its place; undefined: not there. */
function overlaid(services: Services, instead: ReadonlyMap<VirtualServiceKey, DesiredNatService | undefined>): Services {
  const all = new Map(services);
  for (const [key, service] of instead) {
    if (service === undefined) all.delete(key);
    else all.set(key, service);
  }
  return all;
}
