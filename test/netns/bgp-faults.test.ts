/**
 * A daemon that is not there, that hangs, and that has another autonomous system; a VIP that a neighbour announces, too:
 * what the speaker says of each, and that a data plane which withdraws does not wait for long.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { gobgpPrograms, type GobgpPrograms } from '../lab/bgp-daemons.ts';
import { documented, example } from '../lab/bgp/documented.ts';
import { Gobgpd } from '../lab/bgp/gobgp.ts';
import { BgpSegment } from '../lab/bgp/segment.ts';
import { RunningSpeaker, vip, vips } from '../lab/bgp/speaking.ts';
import { waitFor } from '../lab/wait.ts';

/** What a withdrawal may wait, and as much as a busy machine may add. */
const LONGEST_WAIT_MS = 2000 + 2000;
const director = example.directors[0];
const speaking = (asn: number) => ({
  speaker: { asn, routerId: director[4] },
  peers: [{ address: example.router[4], asn: example.router.asn, holdSeconds: 9, connectRetrySeconds: 1, families: [4] as const }],
  routes: new Map(),
});

let segment: BgpSegment;
before(async () => {
  segment = await BgpSegment.create();
});
after(() => segment.close());

function scene(programs: GobgpPrograms): void {
  void describe(`GoBGP ${programs.major}`, { skip: programs.skip }, () => {
    let daemon: Gobgpd;
    let running: RunningSpeaker;

    beforeEach(() => {
      daemon = new Gobgpd(segment.directors[0], programs);
    });
    afterEach(async () => {
      await running.end();
      await daemon.stop('SIGKILL');
    });

    const reason = () => running.speaker.status(vip(4, 0))?.reason;
    const begin = (asn: number = example.asn): void => {
      running = new RunningSpeaker(daemon.endpoint, speaking(asn));
      running.speaker.announce(vips(4, 10));
    };
    const withdrawal = async (address: string): Promise<[done: boolean, milliseconds: number]> => {
      const began = performance.now();
      return [await running.speaker.withdraw([address]), performance.now() - began];
    };

    test('absent: a reason, attempts that become rare, no wait; there later: it has the routes', async () => {
      begin();
      await waitFor('the reason', () => reason()?.code === 'BgpUnreachable');
      await waitFor('some attempts', () => running.speaker.document().attempts >= 3);
      const { state, error } = running.speaker.document();
      assert.equal(state, 'unreachable');
      assert.notEqual(error, null);
      const [done, took] = await withdrawal(vip(4, 9));
      assert.equal(done, false);
      assert.ok(took < 500, `${took} ms`);
      await daemon.start();
      await waitFor('the routes', () => running.speaker.document().paths.announced === 9);
      const { stdout } = await daemon.cli('global', 'rib');
      assert.equal(stdout.split('\n').filter((line) => line.includes('/32')).length, 9);
    });

    test('hanging: a withdrawal waits two seconds and no more, and is made up for', async () => {
      await daemon.start();
      begin();
      await waitFor('the routes', () => running.speaker.document().paths.announced === 10);
      await running.speaker.withdrawOthers((address) => running.speaker.has(address));
      await daemon.freeze();
      const [done, took] = await withdrawal(vip(4, 9));
      assert.equal(done, false);
      assert.ok(took < LONGEST_WAIT_MS, `${took} ms`);
      await waitFor('the reason', () => reason()?.code === 'BgpUnreachable');
      daemon.thaw();
      await waitFor('the routes', () => reason()?.code !== 'BgpUnreachable' && running.speaker.document().paths.announced === 9);
      const { stdout } = await daemon.cli('global', 'rib');
      assert.ok(!stdout.includes(`${vip(4, 9)}/32`), stdout);
    });

    test('of another autonomous system: nothing is changed in it, and both are named', async () => {
      await daemon.start(documented('GoBGP'));
      begin();
      await waitFor('the mismatch', () => running.speaker.document().error !== null && running.speaker.document().daemon !== null);
      const { error, daemon: identity } = running.speaker.document();
      assert.match(error ?? '', new RegExp(`${example.asn}`));
      assert.equal(identity?.asn, example.router.asn);
      const { stdout } = await daemon.cli('neighbor');
      assert.ok(!stdout.includes(example.router[4]), 'no neighbour was set up');
    });

    test('a VIP that a neighbour announces, too: still announced, with the conflict as the reason', async () => {
      const far = new Gobgpd(segment.router, programs);
      try {
        await far.start(documented('GoBGP'));
        await daemon.start();
        begin();
        await waitFor('the session', () => running.speaker.document().peers.some(({ state }) => state === 'established'));
        await far.cli('global', 'rib', 'add', `${vip(4, 0)}/32`, 'origin', 'igp');
        await waitFor('the conflict', () => reason()?.code === 'BgpConflict');
        assert.match(reason()?.message ?? '', /10\.20\.0\.254/);
        assert.equal(running.speaker.status(vip(4, 0))?.announced, true);
        assert.equal(running.speaker.status(vip(4, 1))?.reason, undefined, 'of the others nothing is said');
        await far.cli('global', 'rib', 'del', `${vip(4, 0)}/32`);
        await waitFor('the conflict to be over', () => reason() === undefined);
      } finally {
        await far.stop('SIGKILL');
      }
    });
  });
}

for (const programs of gobgpPrograms()) scene(programs);
