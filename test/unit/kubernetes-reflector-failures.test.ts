/** One list and watch, fault by fault: what is asked for, when, and what is told. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { resources, type KubernetesApi } from '../../src/kubernetes/api.ts';
import { Follow, half } from './kubernetes-follow.ts';

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
