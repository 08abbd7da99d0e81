/** Routes of a director in a daemon that does as it is told. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { RouteOptions } from '../../src/model/bgp.ts';
import { plainRoutes, route, SpeakerRig } from './speaker-rig.ts';

const [first, second] = [65000 * 65536 + 100, 65000 * 65536 + 200];
const own = { communities: [first, second] };
const communities: RouteOptions = { ...plainRoutes, attributes: { ...own, largeCommunities: [] } };
const vips = (count: number): string[] => Array.from({ length: count }, (_, index) => `10.${index >> 8}.${index & 255}.1`);

test('C15 a: adds .11 with both communities as one list, withdraws .12, leaves .10; IPv6 likewise; again: nothing', async () => {
  const rig = new SpeakerRig({ routes: communities });
  for (const prefix of ['192.0.2.10/32', '192.0.2.12/32', '2001:db8::10/128', '2001:db8::12/128']) rig.daemon.setOurs(route(prefix, own));
  const wanted = ['192.0.2.10', '192.0.2.11', '2001:db8::10', '2001:db8::11'];
  await rig.settled(wanted);
  assert.deepEqual(
    rig.daemon.writes.map(({ op, prefix }) => `${op} ${prefix}`),
    ['withdraw 192.0.2.12/32', 'withdraw 2001:db8::12/128', 'add 192.0.2.11/32', 'add 2001:db8::11/128'],
  );
  assert.deepEqual(rig.daemon.ours.get('192.0.2.11/32'), route('192.0.2.11/32', own));
  assert.deepEqual(rig.daemon.ours.get('2001:db8::11/128'), route('2001:db8::11/128', own));
  await rig.pass(wanted);
  await rig.clock.advance(300_000);
  assert.equal(rig.daemon.writes.length, 4);
  await rig.stop();
});

describe('before it is known what is wanted', () => {
  test('nothing is written, whatever is announced, until there is a configuration', async () => {
    const rig = new SpeakerRig();
    rig.daemon.setOurs(route('192.0.2.99/32'));
    await rig.start();
    await rig.pass(['192.0.2.1']);
    await rig.clock.advance(200_000);
    assert.deepEqual(rig.daemon.writes, []);
    assert.deepEqual(rig.speaker.status('192.0.2.1'), {
      address: '192.0.2.1',
      announced: false,
      frames: 0,
      conflicts: 0,
      reason: undefined,
    });
    rig.speaker.configure(undefined);
    await rig.clock.advance(0);
    assert.deepEqual([...rig.daemon.ours.keys()], ['192.0.2.1/32']);
    await rig.stop();
  });

  test('what an earlier process left stays until it is said what stays', async () => {
    const rig = new SpeakerRig();
    rig.daemon.setOurs(route('192.0.2.1/32'));
    rig.daemon.setOurs(route('192.0.2.2/32'));
    rig.speaker.configure(undefined);
    await rig.start();
    rig.speaker.announce(['192.0.2.3']);
    const began = rig.clock.now();
    assert.equal(await rig.waited(rig.speaker.withdraw(['192.0.2.1'])), false);
    assert.equal(rig.clock.now(), began, 'nobody waits for what will not happen');
    await rig.clock.advance(200_000);
    assert.deepEqual([...rig.daemon.ours.keys()], ['192.0.2.1/32', '192.0.2.2/32', '192.0.2.3/32']);
    assert.equal(await rig.waited(rig.speaker.withdrawOthers((address) => address !== '192.0.2.1')), true);
    assert.deepEqual([...rig.daemon.ours.keys()], ['192.0.2.2/32', '192.0.2.3/32'], '.2 stays although nobody announced it yet');
    await rig.stop();
  });

  test('a restart of the agent writes nothing, nor does one of the daemon that keeps its routes', async () => {
    const rig = new SpeakerRig({ routes: communities });
    await rig.settled(vips(50));
    const before = rig.daemon.writes.length;
    await rig.restart();
    rig.speaker.configure(undefined);
    await rig.pass(vips(50));
    rig.daemon.restart(true);
    await rig.clock.advance(100_000);
    assert.equal(rig.daemon.writes.length, before);
    assert.equal(rig.speaker.document().paths.announced, 50);
    await rig.stop();
  });
});

describe('at rest', () => {
  test('a change of one VIP is one call about one route, and nothing is listed', async () => {
    const rig = new SpeakerRig();
    await rig.settled(vips(1000));
    assert.equal(rig.daemon.called('add'), 1);
    const [lists, peers] = [rig.daemon.called('list'), rig.daemon.called('peers')];
    rig.speaker.announce(['192.0.2.1']);
    await rig.clock.advance(0);
    assert.equal(rig.daemon.called('add'), 2);
    assert.equal(rig.daemon.writes.length, 1001);
    assert.equal(await rig.waited(rig.speaker.withdraw(['192.0.2.1'])), true);
    assert.equal(rig.daemon.called('withdraw'), 1);
    assert.equal(rig.daemon.writes.length, 1002);
    assert.deepEqual([rig.daemon.called('list'), rig.daemon.called('peers')], [lists, peers]);
    await rig.stop();
  });

  test('1,000 changes are 1,000 UPDATEs', async () => {
    const rig = new SpeakerRig();
    await rig.settled([]);
    const all = vips(500);
    for (const vip of all) {
      rig.speaker.announce([vip]);
      await rig.clock.advance(1);
    }
    for (const vip of all) {
      void rig.speaker.withdraw([vip]);
      await rig.clock.advance(1);
    }
    assert.equal(rig.daemon.writes.length, 1000);
    assert.equal(rig.daemon.writes.filter(({ update }) => update).length, 1000);
    assert.equal(rig.daemon.ours.size, 0);
    await rig.stop();
  });

  test('a VIP that flaps while a call is under way costs one write more, or none', async () => {
    const rig = new SpeakerRig();
    await rig.settled([]);
    rig.daemon.latency = 100;
    rig.speaker.announce(['192.0.2.1']);
    await rig.clock.advance(10);
    for (let turn = 0; turn < 10; turn += 1) {
      void rig.speaker.withdraw(['192.0.2.1']);
      rig.speaker.announce(['192.0.2.1']);
    }
    await rig.clock.advance(1000);
    assert.equal(rig.daemon.writes.length, 1);
    rig.speaker.announce(['192.0.2.2']);
    await rig.clock.advance(10);
    rig.speaker.announce(['192.0.2.3']);
    void rig.speaker.withdraw(['192.0.2.3']);
    void rig.speaker.withdraw(['192.0.2.2']);
    await rig.clock.advance(1000);
    assert.deepEqual(
      rig.daemon.writes.slice(1).map(({ op, prefix }) => `${op} ${prefix}`),
      ['add 192.0.2.2/32', 'withdraw 192.0.2.2/32'],
    );
    await rig.stop();
  });

  test('nothing is written; a look every minute asks for known prefixes only, and mends what was done by hand', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1', '192.0.2.2', '192.0.2.3']);
    const lists = rig.daemon.called('list');
    await rig.clock.advance(600_000);
    assert.equal(rig.daemon.called('list'), lists + 10);
    assert.equal(rig.daemon.sweeps, 1);
    assert.equal(rig.daemon.writes.length, 3);
    rig.daemon.deleteOurs('192.0.2.1/32');
    rig.daemon.setOurs(route('192.0.2.2/32', { med: 5 }));
    await rig.clock.advance(60_000);
    assert.deepEqual(rig.daemon.ours.get('192.0.2.1/32'), route('192.0.2.1/32'));
    assert.deepEqual(rig.daemon.ours.get('192.0.2.2/32'), route('192.0.2.2/32'));
    assert.equal(rig.daemon.writes.length, 5);
    // Twice by the same hand is not the daemon's own doing.
    await rig.clock.advance(2000);
    rig.daemon.setOurs(route('192.0.2.2/32', { med: 5 }));
    await rig.clock.advance(130_000);
    rig.daemon.setOurs(route('192.0.2.2/32', { med: 5 }));
    await rig.clock.advance(60_000);
    assert.equal(rig.daemon.writes.length, 7);
    await rig.stop();
  });

  test('without a VIP, nothing is even asked for', async () => {
    const rig = new SpeakerRig();
    await rig.settled([]);
    await rig.clock.advance(600_000);
    assert.equal(rig.daemon.called('list'), 1);
    await rig.stop();
    assert.equal(rig.daemon.listeners, 0);
  });

  test('a route that the daemon changes on its way in is written twice, not for ever', async () => {
    const rig = new SpeakerRig();
    rig.daemon.policy = (path) => ({ ...path, med: 77 });
    await rig.settled(['192.0.2.1']);
    await rig.clock.advance(1_000_000);
    assert.equal(rig.daemon.writes.length, 2);
    assert.equal(rig.speaker.status('192.0.2.1')?.announced, true);
    // What is wanted of it still counts.
    rig.speaker.configure({ routes: new Map([['192.0.2.1', { communities: [5] }]]) });
    await rig.clock.advance(1_000_000);
    assert.equal(rig.daemon.writes.length, 4);
    assert.deepEqual(rig.daemon.ours.get('192.0.2.1/32')?.communities, [5]);
    assert.equal(rig.warnings().length, 2, 'each is told once');
    await rig.stop();
  });

  test('another configuration replaces the routes it is about, and no other', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1', '192.0.2.2']);
    rig.speaker.configure({ routes: new Map([['192.0.2.2', { med: 3 }]]) });
    await rig.clock.advance(0);
    const looks = rig.daemon.called('peers');
    rig.speaker.configure({ routes: new Map([['192.0.2.2', { med: 3 }]]) });
    await rig.clock.advance(0);
    assert.equal(rig.daemon.called('peers'), looks, 'the same again is nothing new');
    assert.deepEqual(
      rig.daemon.writes.slice(2).map(({ op, path }) => [op, path]),
      [['add', route('192.0.2.2/32', { med: 3 })]],
    );
    await rig.stop();
  });
});

describe('an aggregate', () => {
  const routes: RouteOptions = { ...plainRoutes, prefixLength: { 4: 24, 6: 64 } };

  test('is announced while any VIP within is', async () => {
    const rig = new SpeakerRig({ routes });
    await rig.settled(['192.0.2.1', '192.0.2.2']);
    assert.deepEqual([...rig.daemon.ours.keys()], ['192.0.2.0/24']);
    assert.equal(await rig.waited(rig.speaker.withdraw(['192.0.2.1'])), true);
    assert.equal(rig.daemon.writes.length, 1);
    assert.equal(rig.speaker.status('192.0.2.2')?.announced, true);
    assert.equal(await rig.waited(rig.speaker.withdraw(['192.0.2.2'])), true);
    assert.equal(rig.daemon.ours.size, 0);
    await rig.stop();
  });

  test('of an earlier process stays until nobody has named a VIP within', async () => {
    const rig = new SpeakerRig({ routes });
    rig.daemon.setOurs(route('192.0.2.0/24'));
    rig.daemon.setOurs(route('198.51.100.0/24'));
    await rig.settled(['192.0.2.1']);
    assert.deepEqual(
      rig.daemon.writes.map(({ op, prefix }) => `${op} ${prefix}`),
      ['withdraw 198.51.100.0/24'],
    );
    await rig.stop();
  });

  test('that is refused leaves the host routes whose place it was to take', async () => {
    const rig = new SpeakerRig({ routes });
    rig.daemon.setOurs(route('192.0.2.1/32'));
    rig.daemon.failNext('add', 'refuse');
    await rig.settled(['192.0.2.1']);
    assert.deepEqual([...rig.daemon.ours.keys()], ['192.0.2.1/32']);
    await rig.clock.advance(1000);
    assert.deepEqual([...rig.daemon.ours.keys()], ['192.0.2.0/24']);
    await rig.stop();
  });

  test('takes the place of host routes before these go, and the other way round', async () => {
    const rig = new SpeakerRig({ routes });
    rig.daemon.setOurs(route('192.0.2.1/32'));
    rig.daemon.setOurs(route('192.0.2.2/32'));
    await rig.settled(['192.0.2.1', '192.0.2.2']);
    const written = (at: SpeakerRig): string[] => at.daemon.writes.map(({ op, prefix }) => `${op} ${prefix}`);
    assert.deepEqual(written(rig), ['add 192.0.2.0/24', 'withdraw 192.0.2.1/32', 'withdraw 192.0.2.2/32']);
    await rig.stop();
    const back = new SpeakerRig();
    back.daemon.setOurs(route('192.0.2.0/24'));
    await back.settled(['192.0.2.1']);
    assert.deepEqual(written(back), ['add 192.0.2.1/32', 'withdraw 192.0.2.0/24']);
    await back.stop();
  });
});

describe('a withdrawal', () => {
  test('is waited for until the daemon has done it', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1', '192.0.2.2']);
    rig.daemon.latency = 300;
    let gone: boolean | undefined;
    void rig.speaker.withdraw(['192.0.2.1']).then((value) => (gone = value));
    await rig.clock.advance(299);
    assert.equal(gone, undefined);
    assert.ok(rig.daemon.ours.has('192.0.2.1/32'));
    await rig.clock.advance(1);
    assert.equal(gone, true);
    assert.deepEqual([...rig.daemon.ours.keys()], ['192.0.2.2/32']);
    await rig.stop();
  });

  test('is waited for two seconds at most, and happens all the same', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1']);
    rig.daemon.latency = 3000;
    const began = rig.clock.now();
    assert.equal(await rig.waited(rig.speaker.withdraw(['192.0.2.1'])), false);
    assert.ok(rig.clock.now() - began <= 2050);
    await rig.clock.advance(5000);
    assert.equal(rig.daemon.ours.size, 0);
    await rig.stop();
  });

  test('is not waited for without a connection, nor when there is nothing to take back', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1', '192.0.2.2']);
    assert.equal(await rig.waited(rig.speaker.withdraw(['192.0.2.9'])), true);
    assert.equal(await rig.waited(rig.speaker.withdrawOthers(() => true)), true);
    rig.daemon.stop();
    await rig.clock.advance(200);
    const began = rig.clock.now();
    assert.equal(await rig.waited(rig.speaker.withdraw(['192.0.2.1'])), false);
    assert.equal(await rig.waited(rig.speaker.withdrawOthers(() => false)), false);
    assert.equal(rig.clock.now(), began);
    rig.daemon.restart(true);
    await rig.clock.advance(20_000);
    assert.equal(rig.daemon.ours.size, 0, 'taken back when it answers again');
    await rig.stop();
  });

  test('that the connection does not survive is not certain', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1']);
    rig.daemon.failNext('withdraw', 'breakAfter');
    assert.equal(await rig.waited(rig.speaker.withdraw(['192.0.2.1'])), false);
    await rig.stop();
  });

  test('that is refused is said to have failed, and tried again', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1']);
    rig.daemon.failNext('withdraw', 'refuse');
    assert.equal(await rig.waited(rig.speaker.withdraw(['192.0.2.1'])), false);
    assert.match(rig.speaker.document().error ?? '', /withdraw 192\.0\.2\.1\/32: the daemon says no/);
    await rig.clock.advance(1000);
    assert.equal(rig.daemon.ours.size, 0);
    assert.equal(rig.speaker.document().error, null);
    await rig.stop();
  });

  test('at the first start waits for the first connection, and knows what an earlier process left', async () => {
    const rig = new SpeakerRig();
    rig.daemon.latency = 50;
    rig.daemon.setOurs(route('192.0.2.9/32'));
    rig.speaker.configure(undefined);
    rig.begin();
    assert.equal(await rig.waited(rig.speaker.withdrawOthers((address) => address === '192.0.2.1')), true);
    assert.equal(rig.daemon.ours.size, 0);
    await rig.stop();
  });

  test('of what is announced again meanwhile ends at once', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1']);
    rig.daemon.latency = 500;
    const answer = rig.speaker.withdraw(['192.0.2.1']);
    rig.speaker.announce(['192.0.2.1']);
    const others = rig.speaker.withdrawOthers(() => false);
    rig.speaker.announce(['192.0.2.1']);
    const began = rig.clock.now();
    assert.deepEqual([await rig.waited(answer), await rig.waited(others)], [false, false]);
    assert.equal(rig.clock.now(), began);
    await rig.clock.advance(5000);
    assert.equal(rig.daemon.writes.length, 1, 'the route was never taken back');
    await rig.stop();
  });
});

test('a plan says what a run would do, reads only, and leaves no connection', async () => {
  const rig = new SpeakerRig();
  rig.daemon.setOurs(route('192.0.2.2/32', { med: 1 }));
  rig.daemon.setOurs(route('192.0.2.3/32'));
  rig.daemon.addForeign(route('192.0.2.4/32'));
  rig.speaker.configure(undefined);
  assert.deepEqual(await rig.speaker.plan(['192.0.2.1', '192.0.2.2']), [
    { op: 'addPath', path: route('192.0.2.1/32') },
    { op: 'replacePath', path: route('192.0.2.2/32') },
    { op: 'withdrawPath', prefix: '192.0.2.3/32' },
  ]);
  assert.deepEqual(rig.daemon.writes, []);
  rig.daemon.asn = 0;
  assert.equal((await rig.speaker.plan(['192.0.2.1'])).length, 1);
  rig.daemon.down = true;
  await assert.rejects(rig.speaker.plan([]), { code: 'Unreachable' });
  assert.equal(rig.daemon.connections, 0);
});

test('C15 a as a plan', async () => {
  const rig = new SpeakerRig({ routes: communities });
  for (const prefix of ['192.0.2.10/32', '192.0.2.12/32']) rig.daemon.setOurs(route(prefix, own));
  assert.deepEqual(await rig.speaker.plan(['192.0.2.10', '192.0.2.11']), [
    { op: 'addPath', path: route('192.0.2.11/32', own) },
    { op: 'withdrawPath', prefix: '192.0.2.12/32' },
  ]);
});
