/**
 * Puts the kinds of objects together into one state. What arrives is only noted; {@link Assembly.flush} makes the next state of
 * all that was noted, at a cost that follows what changed.
 */
import type { Steps } from '../../model/check.ts';
import type { ClusterService, ClusterState, Node, Problem, Publication, ServiceKey, StateChange } from '../../model/cluster.ts';
import { applyServiceChange, publish, sameNode } from '../../model/publish.ts';
import type { Configuration } from './config-map.ts';
import type { Sink } from './known-objects.ts';
import type { Confirmation, ReducedService } from './reduce.ts';
import { SliceIndex, type ReducedSlice } from './slices.ts';

export interface AssemblyOptions {
  /** Something arrived that the next state will have. `quiet`: nothing but a newer revision. */
  readonly onNews: (quiet: boolean) => void;
}

/** Above this many Services at once a whole comparison is cheaper than one by one. */
const mostSingly = 256;
/** Warnings that wait for the next publication; more are of no use to anybody. */
const mostWarnings = 100;

function noop(): void {
  // The kind has nothing to tell here.
}

export class Assembly {
  readonly #onNews: (quiet: boolean) => void;
  readonly #services = new Map<ServiceKey, ReducedService>();
  readonly #slices = new SliceIndex();
  readonly #nodes = new Map<string, Node>();
  readonly #confirmations = new Map<string, Confirmation>();
  #configuration: Configuration | undefined;
  #revision = Number.NaN;

  #touched = new Set<ServiceKey>();
  #whole = true;
  #confirmed = false;
  #followsLeases = false;
  #forced = false;
  #newConfiguration = false;
  #warnings: Problem[] = [];
  readonly #warned = new Set<string>();
  #state: ClusterState | undefined;

  constructor({ onNews }: AssemblyOptions) {
    this.#onNews = onNews;
  }

  /** Undefined before the first flush. */
  get state(): ClusterState | undefined {
    return this.#state;
  }

  get configured(): boolean {
    return this.#configuration !== undefined;
  }

  /** Told once, with the next publication. */
  warn(problem: Problem): void {
    const words = `${problem.path} ${problem.message}`;
    if (this.#warned.has(words)) return;
    if (this.#warned.size >= 1000) this.#warned.clear();
    this.#warned.add(words);
    if (this.#warnings.length < mostWarnings) this.#warnings.push(problem);
    this.#onNews(false);
  }

  configure(configuration: Configuration, warnings: readonly Problem[], forced: boolean): void {
    this.#configuration = configuration;
    this.#newConfiguration = true;
    this.#whole = true;
    this.#forced ||= forced;
    this.#warnings.push(...warnings);
    this.#onNews(false);
  }

  get services(): Sink<ReducedService> {
    const touch = (key: string): void => {
      this.#touched.add(key);
      this.#onNews(false);
    };
    return {
      put: (key, service) => {
        this.#services.set(key, service);
        touch(key);
      },
      remove: (key) => {
        this.#services.delete(key);
        touch(key);
      },
      reached: noop,
      listed: noop,
    };
  }

  get slices(): Sink<ReducedSlice> {
    const touch = (keys: readonly ServiceKey[]): void => {
      for (const key of keys) this.#touched.add(key);
      this.#onNews(false);
    };
    return {
      put: (key, slice) => touch(this.#slices.put(key, slice)),
      remove: (key) => touch(this.#slices.remove(key)),
      reached: (revision) => {
        this.#revision = revision;
        this.#onNews(true);
      },
      listed: noop,
    };
  }

  get nodes(): Sink<Node> {
    const change = (): void => {
      this.#whole = true;
      this.#onNews(false);
    };
    return {
      put: (key, node) => {
        const old = this.#nodes.get(key);
        // A node says every few minutes, or seconds, that it is alive; almost never does it say anything new.
        if (old !== undefined && sameNode(old, node)) return;
        this.#nodes.set(key, node);
        change();
      },
      remove: (key) => {
        if (this.#nodes.delete(key)) change();
      },
      reached: noop,
      listed: noop,
    };
  }

  get leases(): Sink<Confirmation> {
    const change = (): void => {
      this.#confirmed = true;
      this.#onNews(false);
    };
    return {
      put: (key, confirmation) => {
        const old = this.#confirmations.get(key);
        this.#confirmations.set(key, confirmation);
        if (old?.node !== confirmation.node || old.revision !== confirmation.revision) change();
      },
      remove: (key) => {
        if (this.#confirmations.delete(key)) change();
      },
      reached: noop,
      listed: () => {
        if (this.#followsLeases) return;
        this.#followsLeases = true;
        change();
      },
    };
  }

  /** What a Service is now; undefined when there is none. Endpoints without their Service are nobody's. */
  #service(key: ServiceKey): ClusterService | undefined {
    const service = this.#services.get(key);
    if (service === undefined) return undefined;
    const { endpoints, revision } = this.#slices.endpointsOf(key);
    return { ...service, endpoints, ...(revision === undefined ? {} : { revision }) };
  }

  /** What the state says beside its parts: how new it is, and what realservers said. */
  #tidings(previous: ClusterState | undefined, confirmedChanged: boolean): Pick<ClusterState, 'revision' | 'confirmed'> {
    const revision = Number.isNaN(this.#revision) ? {} : { revision: this.#revision };
    if (!this.#followsLeases) return revision;
    // Revisions that are no numbers cannot be compared: then nobody knows what is confirmed.
    if (Number.isNaN(this.#revision)) return {};
    if (!confirmedChanged && previous?.confirmed !== undefined) return { ...revision, confirmed: previous.confirmed };
    return { ...revision, confirmed: new Map([...this.#confirmations.values()].map((one) => [one.node, one.revision])) };
  }

  /**
   * The next state, and what differs. Undefined when nothing was noted that anybody would look at; the state is the newest one
   * all the same. What arrives between the steps belongs to the next time.
   */
  *flush(): Steps<Publication | undefined> {
    const configuration = this.#configuration;
    if (configuration === undefined) return undefined;
    const previous = this.#state;
    const touched = this.#touched;
    const warnings = this.#warnings;
    const confirmed = this.#confirmed;
    const forced = this.#forced;
    const news = { configuration: this.#newConfiguration ? 'new' : 'same' } as const;
    const tidings = this.#tidings(previous, confirmed);
    const whole = this.#whole || previous === undefined || touched.size > mostSingly;
    this.#touched = new Set();
    this.#warnings = [];
    this.#confirmed = this.#forced = this.#whole = this.#newConfiguration = false;

    const { state, change } = whole
      ? yield* this.#compareWhole(previous, touched, configuration)
      : yield* this.#applySingly(previous, touched);
    const { revision: _revision, confirmed: _confirmed, ...rest } = state;
    const next: ClusterState = { ...rest, ...tidings };
    this.#state = next;
    if (change.all) return { state: next, change, warnings, ...news };
    if (change.virtualServices.size === 0 && !confirmed && !forced && warnings.length === 0) return undefined;
    return { state: next, change: confirmed ? { ...change, confirmed: true } : change, warnings, ...news };
  }

  *#compareWhole(
    previous: ClusterState | undefined,
    touched: ReadonlySet<ServiceKey>,
    configuration: Configuration,
  ): Steps<{ state: ClusterState; change: StateChange }> {
    const services = new Map<ServiceKey, ClusterService>();
    for (const key of this.#services.keys()) {
      const old = touched.has(key) ? undefined : previous?.services.get(key);
      const service = old ?? this.#service(key);
      if (service !== undefined) services.set(key, service);
      yield;
    }
    const { virtualServices, virtualServicesOf, addresses, nodeLabels, mtu, bgp } = configuration;
    const configured = { virtualServices, virtualServicesOf, addresses, nodeLabels, mtu, ...(bgp === undefined ? {} : { bgp }) };
    return publish(previous, { nodes: new Map(this.#nodes), services, ...configured });
  }

  *#applySingly(previous: ClusterState, touched: ReadonlySet<ServiceKey>): Steps<{ state: ClusterState; change: StateChange }> {
    let state = previous;
    const virtualServices = new Set<string>();
    for (const key of touched) {
      const publication = applyServiceChange(state, this.#service(key) ?? { deleted: key });
      state = publication.state;
      if (!publication.change.all) for (const virtualService of publication.change.virtualServices) virtualServices.add(virtualService);
      yield;
    }
    return { state, change: { all: false, virtualServices } };
  }
}
