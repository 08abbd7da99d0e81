/**
 * From what the kernel holds to what it ought to hold, one moment at a time. A destination is in one of these phases, told
 * by cluster and kernel together, so that an agent that remembers nothing finds it again:
 *
 *   awaited   pods are ready on the node, the kernel has no weight for it: until the node is known to have programmed them
 *   serving   pods are ready on an eligible node: weight by pods
 *   last resort   nobody is ready: nodes whose terminating pods still serve
 *   leaving   in the kernel without a claim to weight: in steps where asked for, then weight 0 until its connections are
 *             over or the drain timeout is
 *   gone      not in the kernel
 *
 * Memory only keeps the times at which a phase began, as this process saw it; without it they begin anew.
 */
import type { Address, ClusterService, ClusterState, DrainPolicy, Reason, VirtualService } from '../model/cluster.ts';
import { claimsOf, type Claims, type DirectorOptions, type Place } from './claims.ts';
import { serviceWith } from './director.ts';
import { levelsOf, stepDown, tolerance, type Descent } from './drain-steps.ts';
import type { Eligible } from './eligibility.ts';
import type { DesiredIpvsService } from './types.ts';
import { weightOf } from './weights.ts';

export interface DrainOptions extends DirectorOptions {
  /** Longest time at weight 0 before a destination is removed, milliseconds; a Service may say otherwise. */
  readonly drainMilliseconds: number;
  /** Longest wait for a realserver to confirm its pods, milliseconds. */
  readonly readinessMilliseconds: number;
  /** The same where realservers confirm nothing: this long, always. */
  readonly handoverMilliseconds: number;
}

/** A destination in the kernel. */
export interface ObservedDestination {
  readonly weight: number;
  /** Active and inactive ones; undefined when the kernel was not asked. */
  readonly connections: number | undefined;
}

export type Observed = ReadonlyMap<Address, ObservedDestination>;

export const nothingObserved: Observed = new Map<Address, never>();

/** A destination without a claim, as this process first saw it so. */
export interface Leaving extends Descent {
  /** Since when nothing new goes there; undefined while steps are to go. */
  readonly emptyingSince: number | undefined;
}

/** A destination with a claim that the kernel has no weight for. */
export interface Awaited {
  readonly since: number;
  /** What its nodes have to confirm; undefined where they confirm nothing. */
  readonly revision: number | undefined;
  /** It was raised without confirmation, and that was told. */
  readonly told: boolean;
}

export interface Memory {
  readonly leaving: ReadonlyMap<Address, Leaving>;
  readonly awaited: ReadonlyMap<Address, Awaited>;
}

export const nothingRemembered: Memory = { leaving: new Map(), awaited: new Map() };

export interface Moment {
  /** Milliseconds on any clock that does not go back. */
  readonly now: number;
  /** Destinations of this virtual service that an agent may have written. */
  readonly observed: Observed;
  /** The service in the kernel has settings that no agent writes: it is taken over only where there is a claim to it. Default false. */
  readonly foreign?: boolean;
  readonly memory: Memory;
  /** What this process last decided: weights that somebody else took away come back without a wait. Default: nothing. */
  readonly decided?: DesiredIpvsService | undefined;
  /** This process never looked at the virtual service before: nothing is known to have changed. */
  readonly first: boolean;
}

export interface Outcome {
  readonly service: DesiredIpvsService | undefined;
  readonly reason: Reason | undefined;
  readonly memory: Memory;
  /** When to look again although nothing was heard; infinite when there is nothing to see. */
  readonly due: number;
  /** Waits for realservers to confirm. */
  readonly awaiting: boolean;
  /** Names of nodes that get connections now although they confirmed nothing in time; each wait is told once. */
  readonly unconfirmed: readonly string[];
  /** The last weight above zero goes, and not because the pods themselves say that they are not ready. */
  readonly lost: boolean;
}

/** Connections are looked at about once a second, those of all virtual services at one moment: that is one reading of the kernel. */
const lookMilliseconds = 1000;

function nextLook(now: number): number {
  return (Math.floor(now / lookMilliseconds + 0.5) + 1) * lookMilliseconds;
}

const noPolicy: DrainPolicy = {};

/** Works out one virtual service at one moment. */
class Step {
  readonly #options: DrainOptions;
  readonly #state: ClusterState;
  readonly #claims: Claims;
  readonly #service: ClusterService | undefined;
  readonly #moment: Moment;
  readonly #policy: DrainPolicy;
  readonly weights = new Map<Address, number>();
  readonly leaving = new Map<Address, Leaving>();
  readonly awaited = new Map<Address, Awaited>();
  readonly unconfirmed: string[] = [];
  #due = Number.POSITIVE_INFINITY;
  /** Claims that wait, and what they will weigh. */
  #waiting = new Map<Address, number>();

  constructor(options: DrainOptions, state: ClusterState, claims: Claims, service: ClusterService | undefined, moment: Moment) {
    this.#options = options;
    this.#state = state;
    this.#claims = claims;
    this.#service = service;
    this.#moment = moment;
    this.#policy = service?.drain ?? noPolicy;
  }

  get due(): number {
    return this.#due;
  }

  get waiting(): ReadonlyMap<Address, number> {
    return this.#waiting;
  }

  run(): void {
    const { observed, decided } = this.#moment;
    const given = new Set(decided?.destinations.filter(({ spec }) => spec.weight > 0).map(({ id }) => id.address));
    for (const [address, weight] of this.#claims.weights) {
      const held = observed.get(address)?.weight ?? 0;
      if (held > 0 || given.has(address) || this.#claims.lastResort || !this.#waits(address)) this.weights.set(address, weight);
      else this.#waiting.set(address, weight);
    }
    this.#bridge();
    for (const address of this.#waiting.keys()) if (observed.has(address)) this.weights.set(address, 0);
    for (const [address, destination] of observed) {
      if (!this.weights.has(address) && !this.#waiting.has(address)) this.#leave(address, destination);
    }
    for (const address of this.#claims.idle) if (!this.weights.has(address)) this.weights.set(address, 0);
  }

  /** Whether new connections have to wait for the node. */
  #waits(address: Address): boolean {
    const { confirmed } = this.#state;
    const { now, memory, first } = this.#moment;
    const revision = confirmed === undefined ? undefined : this.#service?.revision;
    const limit = revision === undefined ? this.#options.handoverMilliseconds : this.#options.readinessMilliseconds;
    if (limit <= 0 || (revision === undefined && first)) return false;
    const known = memory.awaited.get(address);
    // What a node has to confirm is fixed when the wait begins: later changes of the Service do not prolong it.
    const awaited: Awaited = { since: known?.since ?? now, revision: known?.revision ?? revision, told: known?.told ?? false };
    const nodes = this.#claims.places.get(address)?.nodes ?? [];
    const missing = revision === undefined ? nodes : nodes.filter((node) => (confirmed?.get(node) ?? -1) < (awaited.revision ?? revision));
    if (missing.length === 0) return false;
    const until = awaited.since + limit;
    if (now + tolerance < until) {
      this.awaited.set(address, awaited);
      this.#due = Math.min(this.#due, until);
      return true;
    }
    this.awaited.set(address, { ...awaited, told: true });
    if (revision !== undefined && !awaited.told) this.unconfirmed.push(...missing);
    return false;
  }

  /**
   * All that are to come still wait, and all that are there have no claim any more. Rather than no weight at all:
   * who can still serve stays until then; where nobody can, nothing is lost by not waiting.
   */
  #bridge(): void {
    if (this.weights.size > 0 || this.#waiting.size === 0) return;
    let carried = false;
    for (const [address, { weight }] of this.#moment.observed) {
      if (weight === 0) continue;
      carried = true;
      const place = this.#claims.places.get(address);
      if (place !== undefined && servesStill(place)) this.weights.set(address, Math.min(weight, this.#fullWeight(place)));
    }
    if (!carried || this.weights.size > 0) return;
    for (const [address, weight] of this.#waiting) this.weights.set(address, weight);
    this.#waiting = new Map();
    this.#due = Number.POSITIVE_INFINITY;
  }

  #fullWeight({ ready, terminating }: Place): number {
    return weightOf(ready + terminating, this.#options.weightOverride === true) * this.#claims.factor;
  }

  #levels(held: number, place: Place | undefined): number {
    const count = this.#policy.steps?.count ?? 1;
    return place === undefined ? count : levelsOf(count, held, this.#fullWeight(place) / this.#claims.factor);
  }

  /** A destination that nobody claims. */
  #leave(address: Address, { weight: held, connections }: ObservedDestination): void {
    const { now, memory } = this.#moment;
    const place = this.#claims.places.get(address);
    const begun = memory.leaving.get(address) ?? {
      ...{ since: now, weight: held, levels: this.#levels(held, place), emptyingSince: undefined },
    };
    const { steps } = this.#policy;
    // Only who can still serve is left in steps.
    const { weight, next } = steps !== undefined && place !== undefined && servesStill(place) ? stepDown(steps, begun, now) : down;
    // Whatever is remembered: weight never comes back without a claim.
    const lowered = Math.min(weight, held);
    const emptyingSince = lowered > 0 ? undefined : (begun.emptyingSince ?? now);
    if (lowered > 0) this.#due = Math.min(this.#due, next);
    else if (this.#claims.idle.has(address)) {
      this.weights.set(address, 0);
      return;
    } else {
      const until = (emptyingSince ?? now) + (this.#policy.timeoutMilliseconds ?? this.#options.drainMilliseconds);
      const mayReturn = place !== undefined && place.eligible && place.terminating > 0;
      if (until <= now + tolerance || (held === 0 && connections === 0 && !mayReturn)) return;
      this.#due = Math.min(this.#due, until, mayReturn ? until : nextLook(now));
    }
    this.weights.set(address, lowered);
    this.leaving.set(address, { ...begun, emptyingSince });
  }
}

const down = { weight: 0, next: Number.POSITIVE_INFINITY };

function servesStill({ alive, ready, terminating }: Place): boolean {
  return alive && ready + terminating > 0;
}

function sumOf(weights: Iterable<number>): number {
  let sum = 0;
  for (const weight of weights) sum += weight;
  return sum;
}

/** One virtual service of a director, now. */
export function directorStep(
  state: ClusterState,
  virtualService: VirtualService,
  options: DrainOptions,
  eligible: Eligible,
  moment: Moment,
): Outcome {
  const claims = claimsOf(state, virtualService, options, eligible);
  const ours = moment.foreign === true && claims.weights.size === 0 ? { ...moment, observed: nothingObserved } : moment;
  const step = new Step(options, state, claims, state.services.get(virtualService.service), ours);
  step.run();
  const backed = sumOf(step.weights.values()) > 0;
  const held = [...ours.observed.values()].some(({ weight }) => weight > 0);
  return {
    service: serviceWith(state, virtualService, step.weights, options),
    reason: backed ? undefined : (claims.reason ?? awaitingReason(claims, step.waiting)),
    memory: step.leaving.size + step.awaited.size === 0 ? nothingRemembered : { leaving: step.leaving, awaited: step.awaited },
    due: step.due,
    awaiting: step.waiting.size > 0,
    unconfirmed: step.unconfirmed,
    lost: held && !backed && claims.lost,
  };
}

function awaitingReason({ places }: Claims, waiting: ReadonlyMap<Address, number>): Reason {
  const nodes = [...waiting.keys()].flatMap((address) => places.get(address)?.nodes ?? []).sort();
  const some = nodes.length > 3 ? `${nodes.slice(0, 3).join(', ')} and ${nodes.length - 3} more` : nodes.join(', ');
  return { code: 'AwaitingNode', message: `ready pods are only on nodes that have not programmed them yet: ${some}` };
}
