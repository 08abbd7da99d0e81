/** The planned stop of a director that announces by BGP. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GRACEFUL_SHUTDOWN } from '../../src/desired/bgp.ts';
import { route, SpeakerRig } from './speaker-rig.ts';

const leaving = { communities: [GRACEFUL_SHUTDOWN], localPreference: 0 };

test('marks every route, holds, takes all of ours back, in the time given and a little more', async () => {
  const rig = new SpeakerRig();
  rig.daemon.setOurs(route('192.0.2.9/32'));
  rig.daemon.addForeign(route('192.0.2.8/32'));
  rig.speaker.configure(undefined);
  await rig.start();
  await rig.waited(rig.speaker.withdrawOthers(() => true));
  rig.speaker.announce(['192.0.2.1', '192.0.2.2']);
  await rig.clock.advance(0);
  const state = { over: false };
  void rig.speaker.drain(5000).then(() => (state.over = true));
  assert.equal(rig.speaker.status('192.0.2.1')?.reason?.code, 'BgpDraining');
  await rig.clock.advance(0);
  // One of an earlier process, too.
  for (const last of [1, 2, 9]) assert.deepEqual(rig.daemon.ours.get(`192.0.2.${last}/32`), route(`192.0.2.${last}/32`, leaving));
  assert.equal(rig.speaker.document().state, 'draining');
  await rig.clock.advance(4900);
  assert.equal(rig.daemon.ours.size, 3);
  assert.equal(state.over, false);
  await rig.clock.advance(200);
  assert.equal(state.over, true);
  assert.equal(rig.daemon.ours.size, 0);
  assert.equal(rig.daemon.others.length, 1);
  assert.equal(rig.speaker.document().state, 'drained');
  assert.equal(rig.speaker.status('192.0.2.1')?.announced, false);
  const writes = rig.daemon.writes.length;
  rig.speaker.announce(['192.0.2.3']);
  await rig.clock.advance(100_000);
  assert.equal(rig.daemon.writes.length, writes, 'nothing comes back');
  await rig.stop();
});

test('without a time, nothing is written and nothing waited for', async () => {
  const rig = new SpeakerRig();
  await rig.settled(['192.0.2.1']);
  await rig.speaker.drain(0);
  await rig.clock.advance(100_000);
  assert.equal(rig.daemon.writes.length, 1);
  assert.equal(rig.speaker.document().state, 'connected');
  await rig.stop();
});

test('the next process announces without the mark', async () => {
  const rig = new SpeakerRig();
  await rig.settled(['192.0.2.1']);
  void rig.speaker.drain(60_000);
  await rig.clock.advance(1000);
  await rig.restart();
  rig.speaker.configure(undefined);
  await rig.pass(['192.0.2.1']);
  assert.deepEqual(rig.daemon.ours.get('192.0.2.1/32'), route('192.0.2.1/32'));
  await rig.stop();
});

test('an end that is asked for at once takes nothing back', async () => {
  const rig = new SpeakerRig();
  await rig.settled(['192.0.2.1']);
  const drained = rig.speaker.drain(60_000);
  await rig.clock.advance(1000);
  await rig.stop();
  await drained;
  await rig.clock.advance(1000);
  assert.deepEqual(
    rig.warnings().filter((line) => line.includes('withdrawn')),
    [],
    'nobody tried',
  );
  assert.deepEqual(rig.daemon.ours.get('192.0.2.1/32'), route('192.0.2.1/32', leaving));
  assert.equal(rig.clock.timers, 0);
});

test('is over at once without a daemon, without a route, and without a run', async () => {
  const gone = new SpeakerRig();
  await gone.settled(['192.0.2.1']);
  gone.daemon.stop();
  await gone.clock.advance(1000);
  const began = gone.clock.now();
  await gone.waited(gone.speaker.drain(60_000));
  assert.equal(gone.clock.now(), began);
  await gone.stop();
  const empty = new SpeakerRig();
  await empty.settled([]);
  const then = empty.clock.now();
  await empty.waited(empty.speaker.drain(60_000));
  assert.equal(empty.clock.now(), then);
  assert.equal(empty.daemon.writes.length, 0);
  await empty.stop();
  await new SpeakerRig().speaker.drain(60_000);
});

test('a daemon that does not answer costs the time given, and four seconds', async () => {
  const rig = new SpeakerRig();
  await rig.settled(['192.0.2.1']);
  rig.daemon.latency = 100_000;
  const began = rig.clock.now();
  await rig.waited(rig.speaker.drain(5000));
  assert.ok(rig.clock.now() - began <= 5000 + 4000, `${rig.clock.now() - began} ms`);
  assert.ok(rig.warnings().some((line) => line.includes('could not all be withdrawn')));
  await rig.stop();
});

test('a daemon that restarts meanwhile is told of leaving routes, and loses them in time', async () => {
  const rig = new SpeakerRig();
  await rig.settled(['192.0.2.1']);
  const drained = rig.speaker.drain(10_000);
  await rig.clock.advance(1000);
  rig.daemon.restart();
  await rig.clock.advance(1000);
  assert.deepEqual(rig.daemon.ours.get('192.0.2.1/32'), route('192.0.2.1/32', leaving));
  await rig.waited(drained);
  assert.equal(rig.daemon.ours.size, 0);
  await rig.stop();
});
