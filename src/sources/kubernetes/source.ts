/**
 * A Kubernetes cluster as the source: one list and watch per kind of object, put together into one state. Whatever fails,
 * the last state stays: nothing is taken away before a new list is whole.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { resources, type KubernetesApi } from '../../kubernetes/api.ts';
import { realserverSelector } from '../../kubernetes/realserver-lease.ts';
import type { ReadOptions } from '../../model/cluster-file.ts';
import type { Clock, Random, Timer } from '../../model/clock.ts';
import type { ClusterState, Publication, Source, WatchStatus } from '../../model/cluster.ts';
import { runSliced } from '../../model/slices.ts';
import { Assembly } from './assemble.ts';
import { ConfigMapReader, reduceConfigMap, type Configuration } from './config-map.ts';
import { Interner, reduceLease, reduceNode, reduceService } from './reduce.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';
import { reduceSlice } from './slices.ts';

export interface KubernetesSourceOptions {
  /** The caller's: the source does not close it. */
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly random: Random;
  /** A director follows Nodes and leases as well. */
  readonly mode: 'director' | 'realserver';
  /** Where the configuration is: `data[key]` of a ConfigMap. */
  readonly config: { readonly namespace: string; readonly name: string; readonly key: string };
  /** Where realservers keep the leases that say what they have programmed. Absent: that is not followed. */
  readonly leases?: { readonly namespace: string };
  /** The service that VIPs of the pool get by default. */
  readonly defaultListener?: ReadOptions['defaultListener'];
  /** Of virtual services that name none. */
  readonly defaultScheduler?: ReadOptions['defaultScheduler'];
  /** Lets other work have its turn. Default: one turn of the event loop. */
  readonly pause?: () => Promise<unknown>;
}

type Run = Parameters<Source['run']>[0];

/** An event waits this long for others, from the last one and from the first one. Milliseconds. */
const quietTime = 10;
const longestWait = 50;
/** A newer revision alone is told no more often than this. Milliseconds. */
const revisionPace = 1000;
/** Longest run between two pauses, milliseconds. */
const sliceBudget = 8;

/** What the source knows of a reflector, whatever its kind. */
type Followed = Pick<Reflector<never>, 'listed' | 'troubled' | 'status' | 'run'>;

/** What outlives a run: a source may run again, one run after the other. */
interface LastGood {
  configuration: Configuration | undefined;
}

/** One run of the source: everything that ends when its signal aborts. */
class ClusterFollower {
  readonly #options: KubernetesSourceOptions;
  readonly #run: Run;
  readonly #pause: () => Promise<unknown>;
  /** Ends everything: with the run, or with the first failure of this program. */
  readonly #end = new AbortController();
  readonly #assembly = new Assembly({ onNews: (quiet) => this.#noted(quiet) });
  readonly #configMap: ConfigMapReader;
  readonly #required: readonly Followed[];
  readonly #leases: Followed | undefined;
  #timer: Timer | undefined;
  #quietTimer: Timer | undefined;
  #firstNews: number | undefined;
  #lastNews = 0;
  #toldRevision: number | undefined;
  #tellRevision = false;
  #flushing = false;
  #again = false;
  #stopped = false;

  constructor(options: KubernetesSourceOptions, run: Run, lastGood: LastGood) {
    this.#options = options;
    this.#run = run;
    this.#pause = options.pause ?? ((): Promise<unknown> => turn());
    const { config, mode, leases } = options;
    const interner = new Interner();
    const assembly = this.#assembly;
    const configMap = (this.#configMap = new ConfigMapReader({
      ...{ config, defaultListener: options.defaultListener, defaultScheduler: options.defaultScheduler },
      ...{ clock: options.clock, pause: this.#pause, signal: this.#end.signal },
      onAccepted: (configuration, warnings, forced) => {
        lastGood.configuration = configuration;
        assembly.configure(configuration, warnings, forced);
      },
      onRefused: (problems) => {
        run.onRefused(problems);
        // The last good one of an earlier run: endpoints must not stand still because nobody mends the configuration.
        if (!assembly.configured && lastGood.configuration !== undefined) assembly.configure(lastGood.configuration, [], false);
      },
      onFailure: (error) => this.#end.abort(error),
    }));
    this.#required = [
      this.#follow({
        resource: resources.services,
        reduce: (object, identity) => reduceService(object, identity, interner, (problem) => assembly.warn(problem)),
        sink: assembly.services,
      }),
      this.#follow({
        resource: resources.endpointSlices,
        reduce: (object, identity) => reduceSlice(object, identity, interner),
        sink: assembly.slices,
      }),
      this.#follow({
        resource: resources.configMaps,
        namespace: config.namespace,
        query: { fieldSelector: `metadata.name=${config.name}` },
        reduce: (object) => reduceConfigMap(object, config.key),
        sink: configMap,
      }),
      ...(mode === 'director'
        ? [
            this.#follow({
              resource: resources.nodes,
              reduce: (object, identity) => reduceNode(object, identity, interner),
              sink: assembly.nodes,
            }),
          ]
        : []),
    ];
    if (mode === 'director' && leases !== undefined) {
      this.#leases = this.#follow({
        resource: resources.leases,
        namespace: leases.namespace,
        query: { labelSelector: realserverSelector },
        reduce: (object, identity) => reduceLease(object, identity, interner),
        sink: assembly.leases,
      });
    }
  }

  #follow<Value>(what: Pick<ReflectorOptions<Value>, 'resource' | 'namespace' | 'query' | 'reduce' | 'sink'>): Followed {
    const { api, clock, random } = this.#options;
    const { sink } = what;
    return new Reflector<Value>({
      ...{ api, clock, random, pause: this.#pause },
      ...what,
      sink: {
        put: sink.put.bind(sink),
        remove: sink.remove.bind(sink),
        reached: sink.reached.bind(sink),
        listed: () => {
          sink.listed();
          this.#noted(false);
        },
      },
      onTrouble: (problem) => {
        this.#run.onTrouble?.(problem, what.resource.resource);
        this.#noted(false);
      },
    });
  }

  status(): WatchStatus[] {
    return [...this.#required, ...(this.#leases === undefined ? [] : [this.#leases])].map((reflector) => reflector.status());
  }

  async follow(): Promise<void> {
    const { signal } = this.#run;
    const stop = (): void => {
      this.#stopped ||= !this.#end.signal.aborted;
      this.#end.abort();
    };
    if (signal.aborted) return;
    signal.addEventListener('abort', stop, { once: true });
    const all = [...this.#required, ...(this.#leases === undefined ? [] : [this.#leases])];
    try {
      await Promise.all(all.map((reflector) => reflector.run(this.#end.signal).catch((error: unknown) => this.#end.abort(error))));
    } finally {
      signal.removeEventListener('abort', stop);
      this.#timer?.cancel();
      this.#quietTimer?.cancel();
    }
    // Nothing ends by itself: without the caller's word it is a failure of this program.
    if (!this.#stopped) throw this.#end.signal.reason;
  }

  /**
   * Nothing is told before all of it is known once. Leases make a director gentler, not right: where they cannot be read it
   * works without.
   */
  #whole(): boolean {
    if (!this.#assembly.configured || !this.#required.every((reflector) => reflector.listed)) return false;
    return this.#leases === undefined || this.#leases.listed || this.#leases.troubled;
  }

  #noted(quiet: boolean): void {
    const { clock, mode } = this.#options;
    if (this.#end.signal.aborted) return;
    if (quiet) {
      // A realserver confirms revisions: it has to know them, also where nothing else is new.
      if (mode === 'realserver') this.#quietTimer ??= clock.after(revisionPace, () => this.#revisionDue());
      return;
    }
    this.#lastNews = clock.now();
    this.#firstNews ??= this.#lastNews;
    this.#timer ??= clock.after(quietTime, () => this.#due());
  }

  #due(): void {
    const { clock } = this.#options;
    const now = clock.now();
    const end = Math.min(this.#lastNews + quietTime, (this.#firstNews ?? now) + longestWait);
    this.#timer = undefined;
    if (end > now) this.#timer = clock.after(end - now, () => this.#due());
    else this.#flush();
  }

  #revisionDue(): void {
    this.#quietTimer = undefined;
    this.#tellRevision = true;
    this.#flush();
  }

  /** Never two at a time. */
  #flush(): void {
    this.#timer?.cancel();
    this.#timer = this.#firstNews = undefined;
    if (this.#end.signal.aborted || !this.#whole()) return;
    if (this.#flushing) {
      this.#again = true;
      return;
    }
    this.#flushing = true;
    this.#publish()
      .catch((error: unknown) => this.#end.abort(error))
      .finally(() => {
        this.#flushing = false;
        if (!this.#again) return;
        this.#again = false;
        this.#flush();
      });
  }

  async #publish(): Promise<void> {
    const { clock } = this.#options;
    const steps = this.#assembly.flush();
    const publication = await runSliced(steps, { budget: sliceBudget, now: () => clock.now(), pause: this.#pause });
    if (this.#end.signal.aborted) return;
    const { state } = this.#assembly;
    const told = publication ?? (this.#tellRevision ? this.#newerRevision(state) : undefined);
    this.#tellRevision = false;
    if (told === undefined) return;
    this.#toldRevision = state?.revision;
    this.#run.onPublication(this.#configMap.refused ? { ...told, configuration: 'refused' } : told);
  }

  #newerRevision(state: ClusterState | undefined): Publication | undefined {
    if (state === undefined || state.revision === this.#toldRevision) return undefined;
    return { state, change: { all: false, virtualServices: new Set() }, warnings: [], configuration: 'same' };
  }
}

export class KubernetesSource implements Source {
  readonly #options: KubernetesSourceOptions;
  readonly #lastGood: LastGood = { configuration: undefined };
  #follower: ClusterFollower | undefined;

  constructor(options: KubernetesSourceOptions) {
    this.#options = options;
  }

  /** One entry per kind, in a fixed order; empty before the first run. */
  status(): readonly WatchStatus[] {
    return this.#follower?.status() ?? [];
  }

  async run(run: Run): Promise<void> {
    this.#follower = new ClusterFollower(this.#options, run, this.#lastGood);
    await this.#follower.follow();
  }
}
