/** One list and watch, fault by fault: what is asked for, when, and what is told. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ApiTransportError, resources, type ApiRequest, type KubernetesApi } from '../../src/kubernetes/api.ts';
import type { Problem } from '../../src/model/cluster.ts';
import type { Sink } from '../../src/sources/kubernetes/known-objects.ts';
import { Reflector } from '../../src/sources/kubernetes/reflector.ts';
import { FakeApi } from '../fake-api/api.ts';
import { service } from '../fake-api/objects.ts';
import { microtasks } from '../fake-api/rig.ts';
import { FakeClock, seededRandom } from '../fake-kernel/fake-clock.ts';

class Follow {
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

const half = (): number => 0.5;

suite('what is asked for', () => {
  test('the newest state in pages of 500, then a watch from there with bookmarks and an end of its own', async () => {
    const follow = new Follow({ random: half });
    await follow.advance(0);
    assert.deepEqual(follow.queries, [
      { limit: '500' },
      { watch: '1', allowWatchBookmarks: 'true', resourceVersion: '101', timeoutSeconds: '450' },
    ]);
    assert.deepEqual(follow.told, ['+default/a', 'listed']);
    await follow.stop();
  });

  test('watches of different agents end at different times, 300 to 600 s', async () => {
    const ends = new Set<number>();
    for (let seed = 0; seed < 20; seed++) {
      const follow = new Follow({ random: seededRandom(seed) });
      await follow.advance(0);
      ends.add(Number(follow.queries[1]?.['timeoutSeconds']));
      await follow.stop();
    }
    assert.ok(ends.size > 15 && Math.min(...ends) >= 300 && Math.max(...ends) < 600, [...ends].join());
  });

  test('pages are one list: what changes between them is in the watch, and nothing is told before the last one', async () => {
    const follow = new Follow({ names: ['a', 'b', 'c', 'd', 'e'] });
    follow.api.pageSize = 2;
    let pages = 0;
    follow.api.onPage = () => {
      assert.deepEqual(follow.told, [], 'nothing is told before the list is whole');
      pages += 1;
      follow.put(`later${pages}`);
      if (pages === 1) follow.remove('e');
    };
    await follow.advance(0);
    assert.equal(pages, 2);
    assert.deepEqual(follow.told, [
      '+default/a',
      '+default/b',
      '+default/c',
      '+default/d',
      '+default/e',
      'listed',
      '+default/later1',
      '-default/e',
      '+default/later2',
    ]);
    await follow.stop();
  });

  test('a continue token that expires starts the list again; after two in a row it is asked for in one piece', async () => {
    const follow = new Follow({ names: ['a', 'b', 'c', 'd'], random: half });
    follow.api.pageSize = 2;
    let allow = 2;
    follow.api.onPage = () => {
      if (allow-- > 0) follow.api.store.compact();
      else follow.api.pageSize = Number.POSITIVE_INFINITY;
    };
    await follow.advance(10_000);
    const lists = follow.queries.filter((query) => query['watch'] === undefined);
    assert.deepEqual(
      lists.slice(0, 5).map((query) => [query['limit'], query['continue'] !== undefined]),
      [
        ['500', false],
        ['500', true],
        ['500', false],
        ['500', true],
        [undefined, false],
      ],
    );
    assert.equal(follow.known.size, 4);
    await follow.stop();
  });

  test('pages that never end are no list', async () => {
    const body = { metadata: { resourceVersion: '7', continue: 'again' }, items: [{ metadata: { name: 'x', resourceVersion: '5' } }] };
    const follow = new Follow();
    for (let page = 0; page < 3; page++) follow.api.faults.add('list', 'services', { body });
    await follow.advance(100);
    assert.match(follow.troubles[0]?.message ?? '', /^list services: its pages do not end$/);
    assert.deepEqual(follow.told, []);
    await follow.stop();
  });
});

suite('order and repetition', () => {
  test('what comes twice is told once; another object under the same name is a deletion and an addition', async () => {
    const follow = new Follow();
    await follow.advance(2000);
    follow.told.length = 0;
    follow.watch.duplicate(3);
    follow.put('a');
    await follow.advance(10);
    assert.deepEqual(follow.told, ['+default/a']);
    follow.told.length = 0;
    follow.api.store.replace(resources.services, service({ name: 'a' }));
    await follow.advance(10);
    assert.deepEqual(follow.told, ['-default/a', '+default/a']);
    await follow.stop();
  });

  test('an object replaced while nobody looked is a deletion and an addition as well', async () => {
    const follow = new Follow();
    await follow.advance(60_000);
    follow.told.length = 0;
    follow.api.faults.add('watch', 'services', { delay: 1000 });
    follow.watch.error(410);
    follow.api.store.replace(resources.services, service({ name: 'a' }));
    await follow.advance(5000);
    assert.deepEqual(follow.told, ['-default/a', '+default/a', 'listed']);
    await follow.stop();
  });

  test('an older version that comes late changes nothing and does not set the watch back', async () => {
    const follow = new Follow({ names: ['a', 'b'] });
    await follow.advance(2000);
    follow.watch.reorder(2);
    follow.put('a');
    follow.put('b');
    await follow.advance(10);
    assert.deepEqual(
      follow.known,
      new Map([
        ['default/a', '103'],
        ['default/b', '104'],
      ]),
    );
    assert.equal(follow.reflector.status().resourceVersion, '104');
    assert.equal(follow.reflector.status().lists, 1);
    await follow.stop();
  });

  test('an addition that comes after its deletion cannot be told from a missed one: a new list says what is true', async () => {
    const follow = new Follow();
    await follow.advance(2000);
    follow.watch.reorder(2);
    follow.put('b');
    follow.remove('b');
    await follow.advance(5000);
    assert.deepEqual([...follow.known.keys()], ['default/a']);
    assert.equal(follow.reflector.status().lists, 2);
    await follow.stop();
  });

  test('a server that went back in time is noticed by its bookmark, and its versions are not mistaken for the old ones', async () => {
    const follow = new Follow({ names: ['a', 'b'] });
    await follow.advance(2000);
    follow.put('a');
    follow.put('b');
    await follow.advance(10);
    follow.api.store.rewind(101);
    follow.put('a');
    // The same number as before, another content.
    follow.put('a');
    assert.equal(follow.api.store.get(resources.services, 'default/a')?.metadata.resourceVersion, '103');
    follow.told.length = 0;
    await follow.advance(100_000);
    assert.deepEqual(follow.told, ['+default/a', '+default/b', 'listed']);
    await follow.stop();
  });

  test('an object of no interest is not told, and not again', async () => {
    const follow = new Follow({ names: ['ignored'] });
    await follow.advance(2000);
    follow.put('ignored');
    follow.remove('ignored');
    await follow.advance(10);
    assert.deepEqual([follow.told, follow.reflector.status().lists], [['listed'], 1]);
    await follow.stop();
  });
});

suite('failures', () => {
  for (const way of ['http', 'stream'] as const) {
    test(`410 as ${way} after an outage: a new list, by mark and sweep`, async () => {
      const follow = new Follow({ names: ['a', 'b', 'c'] });
      await follow.advance(60_000);
      follow.api.goneAs = way;
      follow.told.length = 0;
      follow.api.down = true;
      follow.remove('b');
      follow.put('c');
      follow.api.store.compact();
      follow.put('d');
      await follow.advance(10);
      follow.api.down = false;
      await follow.advance(6000);
      assert.deepEqual(follow.told, ['-default/b', '+default/c', '+default/d', 'listed']);
      assert.deepEqual(follow.reflector.status().lists, 2);
      await follow.stop();
    });
  }

  test('410 as an event of an open watch: no delay and no trouble the first time', async () => {
    const follow = new Follow();
    await follow.advance(60_000);
    follow.watch.error(410);
    await follow.advance(0);
    assert.deepEqual(follow.log, ['list 0', 'watch 0', 'list 60000', 'watch 60000']);
    assert.deepEqual(follow.troubles, []);
    await follow.stop();
  });

  test('410 after an outage whose delays have grown long: the list at once, not after another such delay', async () => {
    const follow = new Follow({ random: half });
    await follow.advance(60_000);
    follow.api.down = true;
    follow.put('b');
    follow.api.store.compact();
    follow.put('c');
    await follow.advance(120_000);
    follow.api.down = false;
    // The longest delay.
    await follow.advance(30_000);
    const requests = follow.log.slice(-3);
    const at = requests[0]?.split(' ')[1] ?? '';
    assert.deepEqual(requests, [`watch ${at}`, `list ${at}`, `watch ${at}`]);
    assert.deepEqual(follow.told, ['+default/a', 'listed', '+default/b', '+default/c', 'listed']);
    await follow.stop();
  });

  test('410 for ever is waited out like anything else', async () => {
    const follow = new Follow();
    await follow.advance(0);
    for (let time = 0; time < 1000; time++) follow.api.faults.add('watch', 'services', { status: 410 });
    await follow.advance(600_000);
    assert.ok(follow.api.received.length > 10 && follow.api.received.length < 120, `${follow.api.received.length} requests in ten minutes`);
    await follow.stop();
  });

  test('another ERROR keeps the version: the watch goes on where it was', async () => {
    const follow = new Follow();
    await follow.advance(2000);
    follow.put('b');
    await follow.advance(0);
    follow.watch.error(500);
    follow.put('c');
    await follow.advance(3000);
    assert.deepEqual(follow.queries.at(-1)?.['resourceVersion'], '102');
    assert.deepEqual(follow.told, ['+default/a', 'listed', '+default/b', '+default/c']);
    await follow.stop();
  });

  test('delays grow from 0.8 to 30 s, spread, and start anew after 30 s of a working watch', async () => {
    for (const [random, expected] of [
      [() => 0, [800, 1600, 3200, 6400, 12_800, 15_000, 15_000]],
      [() => 0.999_999, [1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]],
    ] as const) {
      const follow = new Follow({ random });
      follow.api.down = true;
      await follow.advance(140_000);
      const at = follow.api.received.map((request) => request.at);
      assert.deepEqual(
        at.slice(1, 8).map((time, index) => Math.round(time - (at[index] ?? 0))),
        expected,
      );
      follow.api.down = false;
      await follow.advance(31_000);
      await follow.advance(35_000);
      const before = follow.api.received.length;
      follow.watch.break();
      await follow.advance(1700);
      assert.equal(follow.api.received.length, before + 1);
      await follow.stop();
    }
  });

  for (const [what, how] of [
    ['ends at once', { ends: true }],
    ['answers 500', { status: 500 }],
    ['breaks', { code: 'ECONNRESET' }],
    ['sends junk', { document: { type: 'WAT' } }],
  ] as const) {
    test(`a server that always ${what} is asked rarely`, async () => {
      const follow = new Follow();
      for (let time = 0; time < 1000; time++) follow.api.faults.add('watch', 'services', how);
      await follow.advance(600_000);
      const count = follow.api.received.length;
      assert.ok(count > 10 && count < 120, `${count} requests in ten minutes`);
      assert.ok(follow.troubles.some((problem) => problem !== undefined));
      await follow.stop();
    });
  }

  test('a watch that the server ends in good order goes on at once, without a word', async () => {
    const follow = new Follow({ random: half });
    await follow.advance(2000);
    follow.watch.end();
    await follow.advance(0);
    assert.deepEqual(follow.log, ['list 0', 'watch 0', 'watch 2000']);
    await follow.advance(450_000);
    assert.deepEqual([follow.count('list'), follow.count('watch')], [1, 3]);
    assert.deepEqual(follow.troubles, []);
    await follow.stop();
  });

  test('403 names verb and resource, the last state stays, and it is over when it is allowed again', async () => {
    const follow = new Follow();
    await follow.advance(2000);
    follow.api.faults.forbid('watch', 'services');
    follow.api.faults.forbid('list', 'services');
    follow.watch.end();
    await follow.advance(60_000);
    const problem = follow.troubles[0];
    assert.equal(problem?.path, 'services');
    assert.match(problem.message, /^watch services: forbidden \(403\): services is forbidden: User "?\\?"?fake/);
    assert.match(follow.troubles.at(-1)?.message ?? '', /^list services: forbidden/, 'in the end the list is tried, too');
    assert.deepEqual([...follow.known.keys()], ['default/a']);
    assert.equal(follow.reflector.status().state, 'waiting');
    assert.match(follow.reflector.status().error ?? '', /forbidden/);
    follow.api.faults.heal();
    await follow.advance(32_000);
    assert.equal(follow.troubles.at(-1), undefined);
    assert.deepEqual([follow.reflector.status().state, follow.reflector.status().error], ['watching', null]);
    await follow.stop();
  });

  test('429 waits as long as it was asked to, up to five minutes', async () => {
    for (const [asked, least, most] of [
      [20, 20_000, 21_000],
      [100_000, 300_000, 301_000],
      [Number.NaN, 800, 1600],
      [-5, 800, 1600],
    ] as const) {
      const follow = new Follow();
      follow.api.faults.add('list', 'services', { status: 429, retryAfterSeconds: asked });
      await follow.advance(310_000);
      const delay = (follow.api.received[1]?.at ?? 0) - (follow.api.received[0]?.at ?? 0);
      assert.ok(delay >= least && delay <= most, `${asked}: ${delay}`);
      await follow.stop();
    }
  });

  test('a connection that falls silent is given up after 90 s, also when the transport does not notice', async () => {
    const deaf = (api: KubernetesApi): KubernetesApi => ({
      ...api,

      stream: (request) => api.stream({ ...request, idleMilliseconds: 1e9 }),
    });
    const follow = new Follow({ wrap: deaf });
    await follow.advance(2000);
    follow.watch.silence();
    follow.put('b');
    await follow.advance(87_000);
    assert.equal(follow.known.size, 1);
    await follow.advance(6000);
    assert.equal(follow.known.size, 2);
    assert.match(follow.troubles[0]?.message ?? '', /^watch services: nothing was heard for 90 s$/);
    await follow.stop();
  });

  test('bookmarks keep a quiet watch alive and its version young', async () => {
    const follow = new Follow({ random: half });
    await follow.advance(2000);
    follow.api.store.put(resources.nodes, { metadata: { name: 'x' } });
    await follow.advance(440_000);
    assert.deepEqual(follow.log, ['list 0', 'watch 0']);
    assert.equal(follow.reflector.status().resourceVersion, '102');
    assert.ok((follow.reflector.status().silentMilliseconds ?? Number.NaN) <= 60_000);
    await follow.stop();
  });

  test('a version that the server cannot watch from, whatever it says: after five times a new list', async () => {
    const follow = new Follow();
    await follow.advance(2000);
    for (let time = 0; time < 5; time++) follow.api.faults.add('watch', 'services', { status: 504 });
    follow.watch.end();
    await follow.advance(60_000);
    assert.equal(follow.reflector.status().lists, 2);
    await follow.stop();
  });

  test('an outage of the connection alone asks for no new list', async () => {
    const follow = new Follow();
    await follow.advance(2000);
    follow.api.down = true;
    await follow.advance(120_000);
    follow.api.down = false;
    await follow.advance(31_000);
    assert.deepEqual([follow.reflector.status().lists, follow.reflector.status().state], [1, 'watching']);
    await follow.stop();
  });

  for (const [what, body] of [
    ['nothing', undefined],
    ['an empty object', {}],
    ['a text', 'hello'],
    ['a list without a version', { metadata: {}, items: [] }],
    ['items that are none', { metadata: { resourceVersion: '5' }, items: 7 }],
    ['an item without a name', { metadata: { resourceVersion: '5' }, items: [{ metadata: { resourceVersion: '4' } }] }],
    ['no items', { kind: 'ServiceList', metadata: { resourceVersion: '5' } }],
  ] as const) {
    test(`${what} as the answer is not believed to be an empty list`, async () => {
      const follow = new Follow();
      await follow.advance(60_000);
      follow.told.length = 0;
      follow.api.faults.add('list', 'services', { body });
      follow.watch.error(410);
      await follow.advance(100);
      assert.deepEqual(follow.told, []);
      assert.match(follow.troubles[0]?.message ?? '', /^list services: /);
      await follow.advance(2000);
      assert.equal(follow.reflector.status().lists, 2);
      await follow.stop();
    });
  }
});

suite('the end', () => {
  test('stopping during a list, a watch being opened, a watch and a delay leaves nothing', async () => {
    for (const [verb, fault] of [
      ['list', { delay: 5000 }],
      ['watch', { delay: 5000 }],
      ['list', { status: 500 }],
    ] as const) {
      const follow = new Follow();
      follow.api.faults.add(verb, 'services', fault);
      await follow.advance(10);
      const before = follow.api.received.length;
      await follow.stop();
      await follow.advance(100_000);
      assert.equal(follow.api.received.length, before, 'nothing is asked for after the end');
    }
    const follow = new Follow();
    await follow.advance(10);
    await follow.stop();
    await follow.stop();
  });

  test('a page that arrives after the end is not told', async () => {
    let answer: (() => void) | undefined;
    const late = (api: KubernetesApi): KubernetesApi => ({
      ...api,
      request: async (request: ApiRequest) => {
        await new Promise<void>((resolve) => {
          answer = resolve;
        });
        return api.request({ ...request, signal: new AbortController().signal });
      },
    });
    const follow = new Follow({ wrap: late });
    await follow.advance(0);
    const stopped = follow.stop();
    assert.ok(answer);
    answer();
    await stopped;
    assert.deepEqual(follow.told, []);
  });

  test('what is wrong in this program is not mistaken for a failure of the server', async () => {
    const clock = new FakeClock(microtasks);
    const api = new FakeApi(clock);
    api.store.put(resources.services, service({ name: 'a' }));
    const fail = (): never => {
      throw new TypeError('a mistake');
    };
    const reflector = new Reflector<number>({
      ...{ api, clock, random: half, resource: resources.services, reduce: () => 1, onTrouble: () => undefined, pause: microtasks },
      sink: { put: fail, remove: fail, reached: fail, listed: fail },
    });
    await assert.rejects(reflector.run(new AbortController().signal), TypeError);
  });

  test('whatever class of error the transport throws is waited out', async () => {
    const odd = (api: KubernetesApi): KubernetesApi => ({
      ...api,
      request: () => Promise.reject(new RangeError('odd')),
      stream: () => Promise.reject(new ApiTransportError('X', 'odd')),
    });
    const follow = new Follow({ wrap: odd });
    await follow.advance(5000);
    assert.match(follow.troubles[0]?.message ?? '', /^list services: odd$/);
    await follow.stop();
  });
});
