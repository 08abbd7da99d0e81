/** Routes of a director in a daemon that is not there, refuses, or forgets. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { route, SpeakerRig } from './speaker-rig.ts';

const vips = (count: number): string[] => Array.from({ length: count }, (_, index) => `10.${index >> 8}.${index & 255}.1`);
const reason = (rig: SpeakerRig, vip = '192.0.2.1'): string | undefined => rig.speaker.status(vip)?.reason?.code;

describe('a daemon that is not there', () => {
  test('is asked again after 100 ms, then ever more slowly up to 10 s; VIPs say why', async () => {
    const rig = new SpeakerRig();
    rig.daemon.down = true;
    await rig.settled(['192.0.2.1']);
    assert.equal(reason(rig), 'BgpUnreachable');
    assert.match(
      rig.speaker.status('192.0.2.1')?.reason?.message ?? '',
      /^no connection to the BGP daemon: identity 127\.0\.0\.1:50051: no answer$/,
    );
    const document = rig.speaker.document();
    assert.deepEqual([document.state, document.attempts, document.daemon, document.paths.announced], ['unreachable', 1, null, 0]);
    assert.ok(document.nextRetryMilliseconds! >= 80 && document.nextRetryMilliseconds! <= 120, 'a fifth of jitter');
    await rig.clock.advance(30_000);
    const early = rig.daemon.called('identity');
    assert.ok(early >= 8 && early <= 12, `${early} attempts in 30 s`);
    await rig.clock.advance(120_000);
    const late = rig.daemon.called('identity') - early;
    assert.ok(late >= 10 && late <= 15, `${late} attempts in the 120 s after`);
    assert.equal(rig.warnings().length, 1, 'the same failure is told once');
    rig.daemon.restart();
    await rig.clock.advance(12_000);
    assert.deepEqual([...rig.daemon.ours.keys()], ['192.0.2.1/32']);
    assert.deepEqual([rig.speaker.document().attempts, rig.speaker.document().error], [0, null]);
    await rig.stop();
  });

  test('that comes and goes is asked ever more slowly; one that held is asked soon', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1']);
    for (let turn = 0; turn < 5; turn += 1) {
      rig.daemon.breakConnections();
      await rig.clock.advance(0);
      await rig.clock.advance(rig.speaker.document().nextRetryMilliseconds! + 1);
    }
    rig.daemon.breakConnections();
    await rig.clock.advance(0);
    assert.ok(rig.speaker.document().nextRetryMilliseconds! > 2000, 'the sixth break in a row');
    await rig.clock.advance(60_000);
    rig.daemon.breakConnections();
    await rig.clock.advance(0);
    assert.ok(rig.speaker.document().nextRetryMilliseconds! <= 120, 'a break after a minute');
    await rig.stop();
  });

  test('does not keep a configuration from being tried at once', async () => {
    const rig = new SpeakerRig();
    rig.daemon.down = true;
    await rig.settled([]);
    await rig.clock.advance(60_000);
    rig.daemon.down = false;
    rig.speaker.configure({ routes: new Map([['192.0.2.1', { med: 1 }]]) });
    await rig.clock.advance(0);
    assert.equal(rig.speaker.document().state, 'connected');
    await rig.stop();
  });

  test('is no reason to stay when the agent ends, and leaves no timer', async () => {
    const rig = new SpeakerRig();
    rig.daemon.down = true;
    await rig.settled(['192.0.2.1']);
    const answer = rig.speaker.withdraw(['192.0.2.1']);
    await rig.stop();
    assert.equal(await answer, false);
    assert.equal(rig.clock.timers, 0);
  });
});

describe('a daemon that restarts', () => {
  test('and forgets, is filled again within a second', async () => {
    const rig = new SpeakerRig();
    await rig.settled(vips(1000));
    await rig.clock.advance(10_000);
    rig.daemon.restart();
    assert.equal(rig.daemon.ours.size, 0);
    await rig.clock.advance(0);
    assert.deepEqual([rig.speaker.document().paths.announced, rig.speaker.status('10.0.0.1')?.announced], [0, false]);
    await rig.clock.advance(500);
    assert.equal(rig.daemon.ours.size, 1000);
    assert.equal(rig.daemon.writes.length, 2000);
    await rig.stop();
  });

  test('without a break that is noticed, is filled again by the next look', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1']);
    rig.daemon.deleteOurs('192.0.2.1/32');
    rig.daemon.lose();
    await rig.clock.advance(0);
    assert.equal(rig.daemon.ours.size, 1);
    await rig.stop();
  });

  test('in the middle of a call leaves nothing in doubt', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1']);
    rig.daemon.failNext('add', 'breakBetween', 3);
    rig.speaker.announce(['192.0.2.2', '192.0.2.3', '192.0.2.4']);
    await rig.clock.advance(0);
    assert.equal(rig.speaker.status('192.0.2.2')?.announced, false);
    await rig.clock.advance(1000);
    assert.equal(rig.daemon.ours.size, 4);
    const adds = rig.daemon.writes.map(({ prefix }) => prefix);
    assert.equal(new Set(adds).size, adds.length, 'what had arrived is not written again');
    await rig.stop();
  });
});

describe('a route that the daemon refuses', () => {
  test('says so, is tried again ever more slowly, and holds up no other', async () => {
    const rig = new SpeakerRig();
    rig.daemon.fault = (operation, prefix) => (operation === 'add' && prefix === '192.0.2.1/32' ? 'refuse' : undefined);
    await rig.settled(['192.0.2.1', '192.0.2.2']);
    assert.equal(reason(rig), 'BgpRefused');
    assert.equal(rig.speaker.status('192.0.2.2')?.announced, true);
    assert.notEqual(reason(rig, '192.0.2.2'), 'BgpRefused');
    assert.deepEqual([rig.speaker.document().state, rig.speaker.document().attempts], ['connected', 1]);
    const before = rig.daemon.called('add');
    await rig.clock.advance(120_000);
    const tries = rig.daemon.called('add') - before;
    assert.ok(tries >= 15 && tries <= 22, `${tries} tries in two minutes`);
    assert.equal(rig.daemon.writes.length, 1);
    assert.equal(rig.warnings().filter((line) => line.includes('refuses a route')).length, 1);
    // Others go out meanwhile, at once.
    rig.speaker.announce(['192.0.2.3']);
    await rig.clock.advance(0);
    assert.equal(rig.speaker.status('192.0.2.3')?.announced, true);
    rig.daemon.fault = () => undefined;
    await rig.clock.advance(13_000);
    assert.equal(rig.speaker.status('192.0.2.1')?.announced, true);
    assert.deepEqual([rig.speaker.document().error, rig.speaker.document().attempts], [null, 0]);
    await rig.stop();
  });

  test('and that nobody wants any more, is forgotten', async () => {
    const rig = new SpeakerRig();
    rig.daemon.fault = (operation) => (operation === 'add' ? 'refuse' : undefined);
    await rig.settled(['192.0.2.1']);
    assert.equal(await rig.waited(rig.speaker.withdraw(['192.0.2.1'])), true);
    await rig.clock.advance(20_000);
    assert.equal(rig.speaker.document().error, null);
    const before = rig.daemon.called('add');
    await rig.clock.advance(120_000);
    assert.equal(rig.daemon.called('add'), before);
    await rig.stop();
  });
});

test('no answer in time: connects anew, lists again, and writes only what is missing', async () => {
  const rig = new SpeakerRig();
  await rig.settled(['192.0.2.1']);
  rig.daemon.failNext('add', 'timeoutAfter');
  const connections = rig.daemon.called('identity');
  rig.speaker.announce(['192.0.2.2']);
  await rig.clock.advance(5000);
  assert.deepEqual([reason(rig, '192.0.2.2'), rig.speaker.document().state], ['BgpUnreachable', 'unreachable']);
  await rig.clock.advance(1000);
  assert.equal(rig.speaker.status('192.0.2.2')?.announced, true);
  assert.equal(rig.daemon.called('identity'), connections + 1);
  assert.deepEqual(
    rig.daemon.writes.map(({ prefix }) => prefix),
    ['192.0.2.1/32', '192.0.2.2/32'],
  );
  await rig.stop();
});

test('a daemon that takes calls and tells no news is not taken for one', async () => {
  const rig = new SpeakerRig();
  rig.daemon.failNext('watch', 'timeout', 1);
  await rig.settled(['192.0.2.1']);
  // The first withdrawal waited for two seconds.
  assert.equal(rig.speaker.document().state, 'connecting');
  await rig.clock.advance(3000);
  assert.equal(rig.speaker.document().state, 'unreachable');
  await rig.clock.advance(500);
  assert.equal(rig.speaker.document().state, 'connected');
  await rig.stop();
});

describe('a daemon without an autonomous system', () => {
  test('is given the one that is configured', async () => {
    const rig = new SpeakerRig();
    rig.daemon.asn = 0;
    await rig.start();
    assert.equal(rig.daemon.called('start'), 0, 'nothing is written before there is a configuration');
    rig.speaker.configure({ routes: new Map(), speaker: { asn: 65010, routerId: '10.0.0.7' } });
    await rig.pass(['192.0.2.1']);
    assert.deepEqual([rig.daemon.asn, rig.daemon.routerId, rig.daemon.called('start')], [65010, '10.0.0.7', 1]);
    assert.equal(rig.daemon.ours.size, 1);
    assert.deepEqual(rig.speaker.document().daemon, { major: 4, asn: 65010, routerId: '10.0.0.7' });
    await rig.stop();
  });

  test('and none configured: says so, writes nothing, and goes on when it has one', async () => {
    const rig = new SpeakerRig();
    rig.daemon.asn = 0;
    await rig.settled(['192.0.2.1']);
    assert.match(rig.speaker.status('192.0.2.1')?.reason?.message ?? '', /no autonomous system, and none is configured/);
    assert.deepEqual([rig.daemon.called('start'), rig.daemon.called('add')], [0, 0]);
    rig.daemon.asn = 65000;
    await rig.clock.advance(1000);
    assert.equal(rig.daemon.ours.size, 1);
    await rig.stop();
  });

  test('or with another than configured: neighbours are left alone, routes go on', async () => {
    const rig = new SpeakerRig();
    const peers = [{ address: '10.0.0.2', asn: 65001 }];
    rig.speaker.configure({ routes: new Map(), speaker: { asn: 65010, routerId: '10.0.0.7' }, peers });
    await rig.start();
    await rig.pass(['192.0.2.1']);
    assert.deepEqual([rig.daemon.called('start'), rig.daemon.called('addPeer')], [0, 0]);
    assert.equal(rig.daemon.ours.size, 1);
    assert.equal(rig.speaker.document().error, 'the BGP daemon has autonomous system 65000, not 65010: neighbours are left as they are');
    assert.equal(reason(rig), 'BgpNoSession');
    await rig.stop();
  });
});

describe('who hears of a route', () => {
  test('nobody, without a neighbour or a session that carries the family; at once when one comes up', async () => {
    const rig = new SpeakerRig();
    await rig.settled(['192.0.2.1', '2001:db8::1']);
    assert.deepEqual([reason(rig), rig.speaker.status('192.0.2.1')?.announced], ['BgpNoSession', true]);
    rig.daemon.setPeer({ address: '10.0.0.9', asn: 65009, families: [4] }, false, 'active');
    await rig.clock.advance(10_000);
    assert.equal(rig.speaker.status('192.0.2.1')?.reason?.message, 'no session is up with 10.0.0.9 of autonomous system 65009');
    assert.match(rig.speaker.status('2001:db8::1')?.reason?.message ?? '', /takes IPv6 routes/);
    rig.daemon.session('10.0.0.9', 'established');
    await rig.clock.advance(250);
    assert.deepEqual([reason(rig), reason(rig, '2001:db8::1')], [undefined, 'BgpNoSession']);
    assert.deepEqual(
      rig.speaker.document().peers.map(({ address, state }) => [address, state]),
      [['10.0.0.9', 'established']],
    );
    await rig.stop();
  });

  test('a neighbour that talks without end is asked about four times a second at most', async () => {
    const rig = new SpeakerRig();
    rig.daemon.setPeer({ address: '10.0.0.9', asn: 65009 }, false);
    await rig.settled(['192.0.2.1']);
    const before = rig.daemon.called('peers');
    for (let turn = 0; turn < 1000; turn += 1) {
      rig.daemon.session('10.0.0.9', turn % 2 === 0 ? 'active' : 'established');
      await rig.clock.advance(10);
    }
    assert.ok(rig.daemon.called('peers') - before <= 42, `${rig.daemon.called('peers') - before} looks in 10 s`);
    await rig.stop();
  });

  test('a prefix that another autonomous system announces is named; one of another director is not', async () => {
    const rig = new SpeakerRig();
    rig.daemon.setPeer({ address: '10.0.0.9', asn: 65009 }, false);
    rig.daemon.learn(route('192.0.2.1/32'), '10.0.0.9', 65009);
    rig.daemon.learn(route('192.0.2.2/32'), '10.0.0.9');
    rig.daemon.learn(route('192.0.2.3/32'), '10.0.0.9', 65000);
    const others = rig.daemon.others;
    await rig.settled(['192.0.2.1', '192.0.2.2', '192.0.2.3']);
    await rig.clock.advance(60_000);
    const { announced, conflicts } = rig.speaker.status('192.0.2.1')!;
    assert.deepEqual([announced, conflicts, reason(rig)], [true, 1, 'BgpConflict']);
    assert.match(rig.speaker.status('192.0.2.1')?.reason?.message ?? '', /autonomous system 65009 \(told by neighbour 10\.0\.0\.9\)/);
    assert.deepEqual([reason(rig, '192.0.2.2'), reason(rig, '192.0.2.3')], [undefined, undefined]);
    void rig.speaker.withdrawOthers(() => false);
    await rig.clock.advance(100_000);
    assert.deepEqual(rig.daemon.others, others, 'what neighbours told is untouched');
    rig.speaker.announce(['192.0.2.1']);
    await rig.clock.advance(60_000);
    assert.equal(rig.speaker.status('192.0.2.1')?.conflicts, 1);
    rig.daemon.stop();
    await rig.clock.advance(0);
    assert.equal(rig.speaker.status('192.0.2.1')?.conflicts, 0, 'nobody knows any more');
    await rig.stop();
  });
});

test('changes of status are told together, each once', async () => {
  const rig = new SpeakerRig();
  rig.daemon.setPeer({ address: '10.0.0.9', asn: 65009 }, false);
  const all = vips(100);
  await rig.settled(all);
  assert.deepEqual(
    rig.changed.map((list) => list.length),
    [100],
  );
  await rig.clock.advance(600_000);
  assert.equal(rig.changed.length, 1);
  rig.speaker.announce(['192.0.2.1']);
  await rig.clock.advance(0);
  assert.deepEqual(rig.changed[1], ['192.0.2.1']);
  rig.daemon.session('10.0.0.9', 'idle');
  await rig.clock.advance(300);
  assert.equal(rig.changed[2]?.length, 101);
  void rig.speaker.withdraw(['192.0.2.1']);
  await rig.clock.advance(0);
  assert.equal(rig.changed.length, 3, 'whoever takes one back knows');
  await rig.stop();
});
