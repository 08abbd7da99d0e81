/** One list and watch: what is asked for, when, and what is told. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ApiTransportError, resources, type ApiRequest, type KubernetesApi } from '../../src/kubernetes/api.ts';
import { Reflector } from '../../src/sources/kubernetes/reflector.ts';
import { FakeApi } from '../fake-api/api.ts';
import { service } from '../fake-api/objects.ts';
import { microtasks } from '../fake-api/rig.ts';
import { FakeClock, seededRandom } from '../fake-kernel/fake-clock.ts';
import { Follow, half } from './kubernetes-follow.ts';

suite('what is asked for', () => {
  test('the newest state in pages of 250, then a watch from there with bookmarks and an end of its own', async () => {
    const follow = new Follow({ random: half });
    await follow.advance(0);
    assert.deepEqual(follow.queries, [
      { limit: '250' },
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
        ['250', false],
        ['250', true],
        ['250', false],
        ['250', true],
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
