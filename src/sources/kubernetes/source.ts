/**
 * A Kubernetes cluster as the source: one list and watch per kind of object, put together into one state. Whatever fails,
 * the last state stays: nothing is taken away before a new list is whole.
 */
import type { KubernetesApi } from '../../kubernetes/api.ts';
import type { ReadOptions } from '../../model/cluster-file.ts';
import type { Clock, Random } from '../../model/clock.ts';
import type { Source, WatchStatus } from '../../model/cluster.ts';

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
  /** Lets other work have its turn. Default: one turn of the event loop. */
  readonly pause?: () => Promise<unknown>;
}

type Run = Parameters<Source['run']>[0];

export class KubernetesSource implements Source {
  readonly #options: KubernetesSourceOptions;

  constructor(options: KubernetesSourceOptions) {
    this.#options = options;
  }

  /** One entry per kind, in a fixed order; empty before the first run. */
  status(): readonly WatchStatus[] {
    return [];
  }

  run(_options: Run): Promise<void> {
    return Promise.reject(new Error(`${this.#options.api.server}: following a cluster is not built yet`));
  }
}
