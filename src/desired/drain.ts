/**
 * From what the kernel holds to what it ought to hold, one moment at a time. A destination is in one of these phases, told
 * by cluster and kernel together, so that an agent that remembers nothing finds it again:
 *
 *   awaited   pods are ready on the node, the kernel has no weight for it: until the node is known to have programmed them
 *   serving   pods are ready on an eligible node: weight by pods
 *   last resort   nobody is ready: nodes whose terminating pods still serve
 *   leaving   in the kernel without a claim to weight: in steps where asked for, then weight 0 until its connections are
 *             over or the drain timeout is; at once where nobody can serve them, and they would never end
 *   gone      not in the kernel
 *
 * Memory only keeps the times at which a phase began, as this process saw it; without it they begin anew.
 */
import type { ClusterService, ClusterState, DrainPolicy, Reason, VirtualService } from '../model/cluster.ts';
import { backendOf, isPod, type Backend } from './backend.ts';
import { claimsOf, type Claims, type DirectorOptions } from './claims.ts';
import { localShare, sumOf } from './colocation.ts';
import { serviceWith } from './director.ts';
import { levelsOf, stepDown, tolerance, type Descent } from './drain-steps.ts';
import type { Eligible } from './eligibility.ts';
import { servesStill, type Place } from './places.ts';
import type { DesiredIpvsService, DesiredNatService } from './types.ts';
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

export type Observed = ReadonlyMap<Backend, ObservedDestination>;

export const nothingObserved: Observed = new Map<Backend, never>();

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
  readonly leaving: ReadonlyMap<Backend, Leaving>;
  readonly awaited: ReadonlyMap<Backend, Awaited>;
}

export const nothingRemembered: Memory = { leaving: new Map(), awaited: new Map() };

export interface Moment {
  /** Milliseconds on any clock that does not go back. */
  readonly now: number;
  /** Destinations of this virtual service that an agent may have written. */
  readonly observed: Observed;
  /** The service in the kernel has settings that no agent writes: it is taken over only where there is a claim to it. Default false. */
  readonly foreign?: boolean;
  /** Pods on this director have a share in force. Default false. */
  readonly local?: boolean;
  readonly memory: Memory;
  /** What this process last decided: weights that somebody else took away come back without a wait. Default: nothing. */
  readonly decided?: DesiredIpvsService | undefined;
  /** This process never looked at the virtual service before: nothing is known to have changed. */
  readonly first: boolean;
}

export interface Outcome {
  readonly service: DesiredIpvsService | undefined;
  /** The share of pods on this director. */
  readonly local: DesiredNatService | undefined;
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
  readonly #virtualService: VirtualService;
  readonly #claims: Claims;
  readonly #service: ClusterService | undefined;
  readonly #moment: Moment;
  readonly #policy: DrainPolicy;
  readonly weights = new Map<Backend, number>();
  readonly leaving = new Map<Backend, Leaving>();
  readonly awaited = new Map<Backend, Awaited>();
  readonly unconfirmed: string[] = [];
  #due = Number.POSITIVE_INFINITY;
  /** Claims that wait, and what they will weigh. */
  #waiting = new Map<Backend, number>();

  constructor(options: DrainOptions, state: ClusterState, virtualService: VirtualService, claims: Claims, moment: Moment) {
    this.#options = options;
    this.#state = state;
    this.#virtualService = virtualService;
    this.#claims = claims;
    this.#service = state.services.get(virtualService.service);
    this.#moment = moment;
    this.#policy = this.#service?.drain ?? noPolicy;
  }

  get due(): number {
    return this.#due;
  }

  get waiting(): ReadonlyMap<Backend, number> {
    return this.#waiting;
  }

  run(): void {
    const { observed, decided } = this.#moment;
    const given = new Set(decided?.destinations.filter(({ spec }) => spec.weight > 0).map(backendOf));
    for (const [backend, weight] of this.#claims.weights) {
      const held = observed.get(backend)?.weight ?? 0;
      if (held > 0 || given.has(backend) || this.#claims.lastResort || !this.#waits(backend)) this.weights.set(backend, weight);
      else this.#waiting.set(backend, weight);
    }
    this.#bridge();
    for (const backend of this.#waiting.keys()) if (observed.has(backend)) this.weights.set(backend, 0);
    for (const [backend, destination] of observed) {
      if (!this.weights.has(backend) && !this.#waiting.has(backend)) this.#leave(backend, destination);
    }
    for (const backend of this.#claims.idle) if (!this.weights.has(backend) && !this.#rests(backend)) this.weights.set(backend, 0);
  }

  /** Whether new connections have to wait for the node. */
  #waits(backend: Backend): boolean {
    // To a pod no realserver is on the way.
    if (isPod(backend)) return false;
    const { confirmed } = this.#state;
    const { now, memory, first } = this.#moment;
    const revision = confirmed === undefined ? undefined : this.#service?.revision;
    const limit = revision === undefined ? this.#options.handoverMilliseconds : this.#options.readinessMilliseconds;
    if (limit <= 0 || (revision === undefined && first)) return false;
    const known = memory.awaited.get(backend);
    // What a node has to confirm is fixed when the wait begins: later changes of the Service do not prolong it.
    const awaited: Awaited = { since: known?.since ?? now, revision: known?.revision ?? revision, told: known?.told ?? false };
    const nodes = this.#claims.places.get(backend)?.nodes ?? [];
    const missing = revision === undefined ? nodes : nodes.filter((node) => (confirmed?.get(node) ?? -1) < (awaited.revision ?? revision));
    if (missing.length === 0) return false;
    const until = awaited.since + limit;
    if (now + tolerance < until) {
      this.awaited.set(backend, awaited);
      this.#due = Math.min(this.#due, until);
      return true;
    }
    this.awaited.set(backend, { ...awaited, told: true });
    if (revision !== undefined && !awaited.told) this.unconfirmed.push(...missing);
    return false;
  }

  /**
   * All that are to come still wait, and all that are there have no claim any more. Rather than no weight at all:
   * who can still serve stays until then; where nobody can, nothing is lost by not waiting.
   */
  #bridge(): void {
    if (this.weights.size > 0 || this.#waiting.size === 0 || this.#claims.local !== undefined) return;
    let carried = this.#moment.local === true;
    for (const [backend, { weight }] of this.#moment.observed) {
      if (weight === 0) continue;
      carried = true;
      const place = this.#claims.places.get(backend);
      if (place !== undefined && servesStill(place)) this.weights.set(backend, Math.min(weight, this.#fullWeight(place)));
    }
    if (!carried || this.weights.size > 0) return;
    for (const [backend, weight] of this.#waiting) this.weights.set(backend, weight);
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
  #leave(backend: Backend, { weight: held, connections }: ObservedDestination): void {
    const { now, memory } = this.#moment;
    const place = this.#claims.places.get(backend);
    const begun = memory.leaving.get(backend) ?? {
      ...{ since: now, weight: held, levels: this.#levels(held, place), emptyingSince: undefined },
    };
    const timeout = this.#policy.timeoutMilliseconds ?? this.#options.drainMilliseconds;
    if (this.#isDeserted(backend, place)) {
      // What stays as an idle destination would keep the flows that are to go; so not before they are forgotten.
      const until = begun.since + timeout;
      const hadFlows = held > 0 || memory.leaving.has(backend);
      if (!this.#claims.idle.has(backend) || !hadFlows || until <= now + tolerance) return;
      this.#due = Math.min(this.#due, until);
      this.leaving.set(backend, { ...begun, emptyingSince: begun.since });
      return;
    }
    const { steps } = this.#policy;
    // Only who can still serve is left in steps.
    const { weight, next } = steps !== undefined && place !== undefined && servesStill(place) ? stepDown(steps, begun, now) : down;
    // Whatever is remembered: weight never comes back without a claim.
    const lowered = Math.min(weight, held);
    const emptyingSince = lowered > 0 ? undefined : (begun.emptyingSince ?? now);
    if (lowered > 0) this.#due = Math.min(this.#due, next);
    else if (this.#claims.idle.has(backend)) {
      this.weights.set(backend, 0);
      return;
    } else {
      const until = (emptyingSince ?? now) + timeout;
      const mayReturn = place !== undefined && place.eligible && place.terminating > 0;
      if (until <= now + tolerance || (held === 0 && connections === 0 && !mayReturn)) return;
      this.#due = Math.min(this.#due, until, mayReturn ? until : nextLook(now));
    }
    this.weights.set(backend, lowered);
    this.leaving.set(backend, { ...begun, emptyingSince });
  }

  /**
   * Nobody is left who could serve what goes there, and to keep it would only send it into the void: a pod that is gone,
   * whose address may be another's tomorrow; and a node without pods, where flows have no end that could be waited for.
   */
  #isDeserted(backend: Backend, place: Place | undefined): boolean {
    const { protocol, forward } = this.#virtualService;
    if (protocol !== 'tcp') return place === undefined || !servesStill(place);
    return place === undefined && isPod(backend) && forward === 'masquerade';
  }

  /** It was deserted with its flows, which are not yet forgotten. */
  #rests(backend: Backend): boolean {
    if (this.leaving.has(backend)) return true;
    const { now, memory, observed } = this.#moment;
    const known = observed.has(backend) ? undefined : memory.leaving.get(backend);
    if (known?.emptyingSince === undefined || this.#virtualService.protocol === 'tcp') return false;
    const until = known.emptyingSince + (this.#policy.timeoutMilliseconds ?? this.#options.drainMilliseconds);
    if (until <= now + tolerance) return false;
    this.leaving.set(backend, known);
    this.#due = Math.min(this.#due, until);
    return true;
  }
}

const down = { weight: 0, next: Number.POSITIVE_INFINITY };

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
  const step = new Step(options, state, virtualService, claims, ours);
  step.run();
  const weight = sumOf(step.weights.values());
  const backed = weight > 0 || claims.local !== undefined;
  const held = moment.local === true || [...ours.observed.values()].some((destination) => destination.weight > 0);
  return {
    service: serviceWith(state, virtualService, { elsewhere: step.weights, local: claims.local?.weight ?? 0 }, options),
    local: claims.local && localShare(virtualService, claims.local, weight),
    reason: backed ? undefined : (claims.reason ?? awaitingReason(claims, step.waiting)),
    memory: step.leaving.size + step.awaited.size === 0 ? nothingRemembered : { leaving: step.leaving, awaited: step.awaited },
    due: step.due,
    awaiting: step.waiting.size > 0,
    unconfirmed: step.unconfirmed,
    lost: held && !backed && claims.lost,
  };
}

function awaitingReason({ places }: Claims, waiting: ReadonlyMap<Backend, number>): Reason {
  const nodes = [...waiting.keys()].flatMap((backend) => places.get(backend)?.nodes ?? []).sort();
  const some = nodes.length > 3 ? `${nodes.slice(0, 3).join(', ')} and ${nodes.length - 3} more` : nodes.join(', ');
  return { code: 'AwaitingNode', message: `ready pods are only on nodes that have not programmed them yet: ${some}` };
}
