/** A Kubernetes source on the fake API server, with time in the test's hands. */
import type { Problem, Publication } from '../../src/model/cluster.ts';
import { KubernetesSource, type KubernetesSourceOptions } from '../../src/sources/kubernetes/source.ts';
import { FakeClock, seededRandom } from '../fake-kernel/fake-clock.ts';
import { FakeApi } from './api.ts';

/** Where tests keep the configuration, and leases. */
export const place = { namespace: 'lb', name: 'ravel', key: 'prod' } as const;

/** Everything in memory goes on in microtasks, which all run before one turn of the event loop is over. */
export function microtasks(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export interface SourceRigOptions extends Partial<Omit<KubernetesSourceOptions, 'api' | 'clock'>> {
  readonly clock?: FakeClock;
  readonly api?: FakeApi;
  readonly onPublication?: (publication: Publication) => void;
}

export class SourceRig {
  readonly clock: FakeClock;
  readonly api: FakeApi;
  readonly source: KubernetesSource;
  readonly publications: Publication[] = [];
  readonly refusals: (readonly Problem[])[] = [];
  /** What was said of each resource, in order. */
  readonly troubles: { resource: string; problem: Problem | undefined }[] = [];
  readonly ended: Promise<void>;
  readonly #stop = new AbortController();
  failure: unknown;

  constructor({ clock, api, onPublication, ...options }: SourceRigOptions = {}) {
    this.clock = clock ?? new FakeClock(microtasks);
    this.api = api ?? new FakeApi(this.clock);
    this.source = new KubernetesSource({
      ...{ api: this.api, clock: this.clock, random: seededRandom(7), mode: 'director', config: place },
      ...{ leases: { namespace: 'lb' }, pause: () => Promise.resolve() },
      ...options,
    });
    // Not at once, so that a test can prepare the server.
    this.ended = Promise.resolve()
      .then(() =>
        this.source.run({
          signal: this.#stop.signal,
          onPublication: (publication) => {
            this.publications.push(publication);
            onPublication?.(publication);
          },
          onRefused: (problems) => this.refusals.push(problems),
          onTrouble: (problem, resource) => this.troubles.push({ resource, problem }),
        }),
      )
      .catch((error: unknown) => void (this.failure = error));
  }

  get last(): Publication | undefined {
    return this.publications.at(-1);
  }

  /** The trouble that stands with a resource. */
  trouble(resource: string): Problem | undefined {
    return this.troubles.findLast((one) => one.resource === resource)?.problem;
  }

  advance(milliseconds: number): Promise<void> {
    return this.clock.advance(milliseconds);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.ended;
    await this.advance(0);
    if (this.failure !== undefined) throw this.failure as Error;
  }
}
