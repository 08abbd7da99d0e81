/** Neighbours that a director sets up in its BGP daemon. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BgpConfig, BgpPeer } from '../../src/model/bgp.ts';
import { SpeakerRig } from './speaker-rig.ts';

const peer: BgpPeer = { address: '10.0.0.2', asn: 65001 };
const bfd = { transmitMilliseconds: 300, receiveMilliseconds: 300, multiplier: 3 };
const config = (...peers: BgpPeer[]): BgpConfig => ({ routes: new Map(), peers });
const writes = (rig: SpeakerRig): number[] =>
  (['addPeer', 'updatePeer', 'deletePeer'] as const).map((operation) => rig.daemon.called(operation));

async function rigWith(...peers: BgpPeer[]): Promise<SpeakerRig> {
  const rig = new SpeakerRig();
  rig.speaker.configure(config(...peers));
  await rig.start();
  return rig;
}

test('are set up, changed where they differ, removed; at rest nothing is written', async () => {
  const rig = await rigWith(peer, { address: '10.0.0.3', asn: 65002, holdSeconds: 9 });
  assert.deepEqual([...rig.daemon.neighbours.keys()], ['10.0.0.2', '10.0.0.3']);
  await rig.clock.advance(300_000);
  assert.deepEqual(writes(rig), [2, 0, 0]);
  rig.daemon.session('10.0.0.3', 'established');
  rig.speaker.configure(config({ address: '10.0.0.3', asn: 65002, holdSeconds: 30 }));
  await rig.clock.advance(1000);
  assert.deepEqual(writes(rig), [2, 1, 1]);
  assert.deepEqual(
    [...rig.daemon.neighbours.values()].map(({ request, state }) => [request, state]),
    [[{ address: '10.0.0.3', asn: 65002, holdSeconds: 30 }, 'established']],
  );
  const line = rig.lines.find(({ message }) => message === 'neighbour changed');
  assert.deepEqual(line?.fields, {
    ...{ neighbour: '10.0.0.3', differs: 'hold time 9 s instead of 30 s, keepalive interval 3 s instead of 10 s', sessionReset: false },
  });
  await rig.stop();
});

test('stay as they are when the agent restarts', async () => {
  const rig = await rigWith({ ...peer, passwordFile: '/secret', holdSeconds: 9, bfd });
  rig.files.set('/secret', 'one\n');
  await rig.clock.advance(20_000);
  assert.deepEqual(writes(rig), [1, 0, 0]);
  await rig.restart();
  rig.speaker.configure(config({ ...peer, passwordFile: '/secret', holdSeconds: 9, bfd }));
  await rig.clock.advance(300_000);
  assert.deepEqual(writes(rig), [1, 0, 0]);
  await rig.stop();
});

test('of somebody else are never touched, also where one is asked for', async () => {
  const rig = new SpeakerRig();
  rig.daemon.setPeer({ address: '10.0.0.2', asn: 65009 }, false);
  rig.daemon.setPeer({ address: '10.0.0.9', asn: 65009 }, false);
  rig.speaker.configure(config(peer));
  await rig.start();
  await rig.clock.advance(100_000);
  assert.deepEqual(writes(rig), [0, 0, 0]);
  assert.equal(rig.speaker.document().error, 'neighbour 10.0.0.2 was set up by somebody else, and is left as it is');
  rig.speaker.configure(config());
  await rig.clock.advance(1000);
  assert.deepEqual([writes(rig), rig.daemon.neighbours.size, rig.speaker.document().error], [[0, 0, 0], 2, null]);
  await rig.stop();
});

test('are left alone where the configuration names none', async () => {
  const rig = new SpeakerRig();
  rig.daemon.setPeer(peer, true);
  rig.speaker.configure(undefined);
  await rig.start();
  await rig.clock.advance(100_000);
  assert.deepEqual([writes(rig), rig.daemon.neighbours.size], [[0, 0, 0], 1]);
  await rig.stop();
});

test('come back when the daemon forgets them, or somebody removes one', async () => {
  const rig = await rigWith(peer);
  rig.daemon.restart();
  await rig.clock.advance(500);
  assert.equal(rig.daemon.neighbours.size, 1);
  rig.daemon.neighbours.clear();
  await rig.clock.advance(10_000);
  assert.equal(rig.daemon.neighbours.size, 1);
  assert.deepEqual(writes(rig), [3, 0, 0]);
  await rig.stop();
});

test('that the daemon refuses are named, tried again, and hold up no route', async () => {
  const rig = new SpeakerRig();
  rig.daemon.fault = (operation) => (operation === 'addPeer' ? 'refuse' : undefined);
  rig.speaker.configure(config(peer));
  await rig.start();
  await rig.pass(['192.0.2.1']);
  assert.equal(rig.daemon.ours.size, 1);
  assert.match(rig.speaker.document().error ?? '', /addPeer 10\.0\.0\.2: the daemon says no/);
  assert.match(rig.speaker.status('192.0.2.1')?.reason?.message ?? '', /has no neighbour.*the daemon says no/);
  const before = rig.daemon.called('addPeer');
  await rig.clock.advance(60_000);
  assert.ok(rig.daemon.called('addPeer') - before <= 7, `${rig.daemon.called('addPeer') - before} tries in a minute`);
  rig.daemon.fault = () => undefined;
  await rig.clock.advance(11_000);
  assert.deepEqual([rig.daemon.neighbours.size, rig.speaker.document().error], [1, null]);
  await rig.stop();
});

test('that the daemon does not answer about are set up over another connection', async () => {
  const rig = new SpeakerRig();
  rig.daemon.failNext('addPeer', 'timeout');
  rig.speaker.configure(config(peer));
  await rig.start();
  await rig.clock.advance(5200);
  assert.deepEqual([rig.daemon.called('identity'), rig.daemon.neighbours.size, rig.speaker.document().state], [2, 1, 'connected']);
  assert.ok(!rig.warnings().some((line) => line.includes('refuses')));
  await rig.stop();
});

describe('a password', () => {
  const secret = { ...peer, passwordFile: '/secret' };

  test('is read without the end of its line, and is in no log, document or status', async () => {
    const rig = new SpeakerRig();
    rig.files.set('/secret', 'hunter2\n');
    rig.speaker.configure(config(secret));
    await rig.start();
    await rig.pass(['192.0.2.1']);
    assert.equal(rig.daemon.neighbours.get('10.0.0.2')?.request.password, 'hunter2');
    rig.files.set('/secret', 'hunter3');
    await rig.clock.advance(130_000);
    const said = JSON.stringify([rig.lines, rig.speaker.document(), rig.speaker.status('192.0.2.1')]);
    assert.ok(!said.includes('hunter'), said);
    await rig.stop();
  });

  test('that changes is given to the daemon at the next look, once, and the session is said to be reset', async () => {
    const rig = new SpeakerRig();
    rig.files.set('/secret', 'one');
    rig.speaker.configure(config(secret));
    await rig.start();
    rig.daemon.session('10.0.0.2', 'established');
    await rig.clock.advance(200_000);
    assert.deepEqual(writes(rig), [1, 0, 0]);
    rig.files.set('/secret', 'two');
    await rig.clock.advance(61_000);
    assert.deepEqual([writes(rig), rig.daemon.neighbours.get('10.0.0.2')?.request.password], [[1, 1, 0], 'two']);
    const line = rig.lines.find(({ message }) => message === 'neighbour changed');
    assert.deepEqual(line?.fields, { neighbour: '10.0.0.2', differs: 'password', sessionReset: true });
    await rig.clock.advance(300_000);
    assert.deepEqual(writes(rig), [1, 1, 0]);
    await rig.stop();
  });

  test('that changes after the agent restarted is noticed, too', async () => {
    const rig = new SpeakerRig();
    rig.daemon.setPeer({ ...peer, password: 'one' }, true);
    rig.files.set('/secret', 'one');
    rig.speaker.configure(config(secret));
    await rig.start();
    rig.files.set('/secret', 'two');
    await rig.clock.advance(61_000);
    assert.deepEqual([writes(rig), rig.daemon.neighbours.get('10.0.0.2')?.request.password], [[0, 1, 0], 'two']);
    await rig.stop();
  });

  test('that changed while the agent was away is noticed where the daemon can be asked', async () => {
    const rig = new SpeakerRig();
    rig.daemon.tellsPasswords = true;
    rig.daemon.setPeer({ ...peer, password: 'one' }, true);
    rig.files.set('/secret', 'two');
    rig.speaker.configure(config(secret));
    await rig.start();
    assert.deepEqual([writes(rig), rig.daemon.neighbours.get('10.0.0.2')?.request.password], [[0, 1, 0], 'two']);
    // And one that is wanted no more.
    rig.speaker.configure(config(peer));
    await rig.clock.advance(300_000);
    assert.deepEqual([writes(rig), rig.daemon.neighbours.get('10.0.0.2')?.request.password], [[0, 2, 0], undefined]);
    await rig.stop();
  });

  for (const [title, content, says] of [
    ['is not there', undefined, 'cannot be read (ENOENT)'],
    ['is empty', '\n', 'is empty'],
    ['is longer than TCP allows', 'x'.repeat(81), 'has more than 80 bytes'],
    ['has two lines', 'one\ntwo', 'has more than one line'],
  ] as const) {
    test(`whose file ${title}: no session is set up without it, one that is there stays; it is named, and mended in time`, async () => {
      const rig = new SpeakerRig();
      rig.daemon.setPeer({ address: '10.0.0.3', asn: 65001, password: 'old' }, true);
      if (content !== undefined) rig.files.set('/secret', content);
      rig.speaker.configure(config(secret, { ...secret, address: '10.0.0.3', holdSeconds: 9 }));
      await rig.start();
      await rig.clock.advance(30_000);
      assert.deepEqual(writes(rig), [0, 0, 0]);
      assert.equal(rig.speaker.document().error, `neighbour 10.0.0.2: the password file /secret ${says}`);
      rig.files.set('/secret', 'right');
      await rig.clock.advance(11_000);
      assert.deepEqual([rig.daemon.neighbours.get('10.0.0.2')?.request.password, rig.speaker.document().error], ['right', null]);
      await rig.stop();
    });
  }

  test('whose file cannot be read any more is named although nothing else differs', async () => {
    const rig = new SpeakerRig();
    rig.files.set('/secret', 'one');
    rig.speaker.configure(config(secret));
    await rig.start();
    rig.files.delete('/secret');
    await rig.clock.advance(61_000);
    assert.match(rig.speaker.document().error ?? '', /\/secret cannot be read/);
    assert.deepEqual(writes(rig), [1, 0, 0]);
    await rig.stop();
  });
});

describe('what a daemon does not change in place', () => {
  test('as GoBGP 3 and hops: the neighbour is set up anew, once', async () => {
    const rig = new SpeakerRig();
    rig.daemon.major = 3;
    rig.daemon.setPeer(peer, true);
    rig.speaker.configure(config({ ...peer, multihop: 2 }));
    await rig.start();
    await rig.clock.advance(300_000);
    assert.equal(rig.daemon.neighbours.get('10.0.0.2')?.request.multihop, 2);
    assert.deepEqual(writes(rig), [1, 1, 1]);
    await rig.stop();
  });

  test('nor anew: is named, and not tried for ever', async () => {
    const rig = new SpeakerRig();
    rig.daemon.setPeer(peer, true);
    const connect = rig.daemon.connect.bind(rig.daemon);
    // A daemon that forgets the hold time it is given.
    rig.daemon.connect = () => {
      const daemon = connect();
      const without = <T extends BgpPeer>({ holdSeconds: _, ...rest }: T): Omit<T, 'holdSeconds'> => rest;
      return {
        ...daemon,
        addPeer: (request) => daemon.addPeer(without(request)),
        updatePeer: (request) => daemon.updatePeer(without(request)),
      };
    };
    rig.speaker.configure(config({ ...peer, holdSeconds: 9, keepaliveSeconds: 30 }));
    await rig.start();
    await rig.clock.advance(600_000);
    assert.deepEqual(writes(rig), [1, 1, 1]);
    assert.equal(rig.speaker.document().error, 'neighbour 10.0.0.2: the BGP daemon keeps hold time 90 s instead of 9 s');
    await rig.stop();
  });
});

describe('BFD', () => {
  test('is set up where the daemon has it', async () => {
    const rig = await rigWith({ ...peer, bfd });
    await rig.clock.advance(100_000);
    assert.deepEqual(rig.daemon.neighbours.get('10.0.0.2')?.request.bfd, bfd);
    assert.deepEqual([writes(rig), rig.speaker.document().error], [[1, 0, 0], null]);
    await rig.stop();
  });

  for (const major of [3, 4] as const) {
    test(`where a GoBGP ${major} has none, the session is set up without, and it is said`, async () => {
      const rig = new SpeakerRig();
      rig.daemon.major = major;
      rig.daemon.bfd = false;
      rig.speaker.configure(config({ ...peer, bfd }));
      await rig.start();
      await rig.clock.advance(300_000);
      assert.equal(rig.daemon.neighbours.size, 1);
      assert.match(rig.speaker.document().error ?? '', /this BGP daemon has no BFD/);
      assert.deepEqual(writes(rig), [1, major === 3 ? 0 : 1, 0]);
      await rig.stop();
    });
  }
});
