/** A reflector of Services on the fake API server, with time in the test's hands. */
import assert from 'node:assert/strict';
import { resources, type KubernetesApi } from '../../src/kubernetes/api.ts';
import type { Problem } from '../../src/model/cluster.ts';
import type { Sink } from '../../src/sources/kubernetes/known-objects.ts';
import { Reflector } from '../../src/sources/kubernetes/reflector.ts';
import { FakeApi } from '../fake-api/api.ts';
import { service } from '../fake-api/objects.ts';
import { microtasks } from '../fake-api/rig.ts';
import { FakeClock, seededRandom } from '../fake-kernel/fake-clock.ts';

export class Follow {
  readonly clock = new FakeClock(microtasks);
  readonly api = new FakeApi(this.clock);
  /** What the sink was told, in order: `+default/a`, `-default/a`, `listed`. */
  readonly told: string[] = [];
  readonly known = new Map<string, string>();
  readonly troubles: (Problem | undefined)[] = [];
  readonly queries: Readonly<Record<string, string>>[] = [];
  readonly reflector: Reflector<string>;
  readonly #stop = new AbortController();
  readonly ended: Promise<void>;
  pauses = 0;

  constructor({ names = ['a'], random = seededRandom(3), wrap = (api: KubernetesApi) => api } = {}) {
    for (const name of names) this.put(name);
    const sink: Sink<string> = {
      put: (key, value) => {
        this.told.push(`+${key}`);
        this.known.set(key, value);
      },
      remove: (key) => {
        this.told.push(`-${key}`);
        this.known.delete(key);
      },
      reached: () => undefined,
      listed: () => void this.told.push('listed'),
    };
    const spied: KubernetesApi = {
      server: this.api.server,
      request: (request) => {
        this.queries.push(request.query ?? {});
        return this.api.request(request);
      },
      stream: (request) => {
        this.queries.push(request.query ?? {});
        return this.api.stream(request);
      },
      close: () => this.api.close(),
    };
    this.reflector = new Reflector<string>({
      ...{ api: wrap(spied), clock: this.clock, random, resource: resources.services, sink },
      reduce: (_object, { resourceVersion, name }) => (name.startsWith('ignored') ? undefined : resourceVersion),
      onTrouble: (problem) => this.troubles.push(problem),
      pause: () => Promise.resolve(void (this.pauses += 1)),
    });
    // Not at once, so that a test can prepare the server.
    this.ended = Promise.resolve().then(() => this.reflector.run(this.#stop.signal));
  }

  put(name: string): void {
    this.api.store.put(resources.services, service({ name }));
  }

  remove(name: string): void {
    this.api.store.remove(resources.services, `default/${name}`);
  }

  get watch() {
    const [watch] = this.api.watching('services');
    assert.ok(watch, 'a watch is open');
    return watch;
  }

  /** `list 0`, `watch 810`: verb and milliseconds since the first request. */
  get log(): string[] {
    const first = this.api.received[0]?.at ?? 0;
    return this.api.received.map(({ verb, at }) => `${verb} ${Math.round(at - first)}`);
  }

  count(verb: string): number {
    return this.api.received.filter((request) => request.verb === verb).length;
  }

  advance(milliseconds: number): Promise<void> {
    return this.clock.advance(milliseconds);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.ended;
    assert.equal(this.api.watches.size, 0, 'no watch is left open');
    assert.equal(this.clock.timers, 0, 'no timer is left');
  }
}

export const half = (): number => 0.5;
