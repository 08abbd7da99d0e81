/**
 * Neighbours that are set up by a speaker of ours in a gobgpd without a file of its own, against BIRD and FRR: passwords,
 * autonomous systems, BFD, graceful restart; and what is said when they do not fit.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import type { BgpConfig, BgpPeer } from '../../src/model/bgp.ts';
import { gobgpPrograms, routerPrograms, type GobgpPrograms } from '../lab/bgp-daemons.ts';
import { example, routerFile, WIDE } from '../lab/bgp/documented.ts';
import { Gobgpd } from '../lab/bgp/gobgp.ts';
import { kernelRoutes, sessionUp, type Router } from '../lab/bgp/router.ts';
import { BgpSegment, createRouter } from '../lab/bgp/segment.ts';
import { RunningSpeaker, vip, vips } from '../lab/bgp/speaking.ts';
import { waitFor } from '../lab/wait.ts';

const folder = mkdtempSync(join(tmpdir(), 'ravel-bgp-'));
const passwordFile = join(folder, 'password');
const neighbour = example.directors[0];
const ROUTES = 10;

let segment: BgpSegment;
before(async () => {
  segment = await BgpSegment.create();
});
after(async () => {
  await segment.close();
  rmSync(folder, { recursive: true });
});

const basic: BgpPeer = { address: example.router[4], asn: example.router.asn, holdSeconds: 9, connectRetrySeconds: 1, families: [4] };

function config(...peers: readonly BgpPeer[]): BgpConfig {
  return { speaker: { asn: example.asn, routerId: neighbour[4] }, peers, routes: new Map() };
}

/** The documented file, with a password for the sessions. */
function withPassword(kind: Router['kind'], password: string): string {
  const file = routerFile(kind, WIDE[4]);
  const [where, what] =
    kind === 'bird'
      ? ['  local as 64513;\n', `  local as 64513;\n  password "${password}";\n`]
      : [' neighbor directors remote-as 64512\n', ` neighbor directors remote-as 64512\n neighbor directors password ${password}\n`];
  assert.ok(file.includes(where));
  return file.replace(where, what);
}

const routed = (count: number): Promise<true> =>
  waitFor(`${count} routes in the kernel`, async () => {
    const { size } = await kernelRoutes(segment.router, 4);
    if (size === count) return true;
    throw new Error(`${size} routes`);
  });

function scene(programs: GobgpPrograms, kind: Router['kind'], skip: string | false): void {
  void describe(`GoBGP ${programs.major} and ${kind}`, { skip }, () => {
    let router: Router;
    let daemon: Gobgpd;
    let running: RunningSpeaker;

    beforeEach(async () => {
      router = createRouter(kind, segment.router);
      daemon = new Gobgpd(segment.directors[0], programs);
      await daemon.start();
    });

    afterEach(async () => {
      await running.end();
      await daemon.stop('SIGKILL');
      await router.stop();
    });

    const begin = (...peers: readonly BgpPeer[]): void => {
      running = new RunningSpeaker(daemon.endpoint, config(...peers));
      running.speaker.announce(vips(4, ROUTES));
    };
    const peer = () => running.speaker.document().peers.find(({ address }) => address === example.router[4]);
    const reason = () => running.speaker.status(vip(4, 0))?.reason;

    test('a daemon without a file gets its autonomous system and its neighbour; the next speaker changes nothing', async () => {
      await router.start(routerFile(kind, WIDE[4]));
      begin(basic);
      const before = await sessionUp(router, neighbour[4]);
      await routed(ROUTES);
      await waitFor('the session in the status', () => peer()?.state === 'established');
      assert.deepEqual([peer()?.ours, peer()?.asn, reason()], [true, example.router.asn, undefined]);
      const counted = await router.session(neighbour[4]);
      await running.end();
      begin(basic);
      assert.equal(await running.speaker.withdrawOthers((address) => running.speaker.has(address)), true);
      await waitFor('the session in the status', () => peer()?.state === 'established');
      const after = await router.session(neighbour[4]);
      assert.deepEqual([after.since, after.updates], [before.since, counted.updates]);
      assert.deepEqual([after.told, after.takenBack], [counted.told, counted.takenBack]);
      running.speaker.configure(config());
      await waitFor('the neighbour to be gone', async () => !(await router.session(neighbour[4])).established);
      await waitFor('the status to say so', () => running.speaker.document().peers.length === 0);
    });

    test('TCP MD5: the wrong password is no session and a reason; the right one in the file is one', async () => {
      await router.start(withPassword(kind, 'correct-horse'));
      writeFileSync(passwordFile, 'wrong-horse\n');
      begin({ ...basic, passwordFile });
      await waitFor('the reason', () => reason()?.code === 'BgpNoSession');
      assert.equal((await router.session(neighbour[4])).established, false);
      writeFileSync(passwordFile, 'correct-horse\n');
      await sessionUp(router, neighbour[4]);
      await routed(ROUTES);
      await waitFor('the reason to go', () => reason() === undefined);
      const said = JSON.stringify([running.log, running.speaker.document()]);
      assert.doesNotMatch(said, /-horse/, 'no password in a log or in the status');
    });

    test('the wrong autonomous system is no session and a reason; the right one is a session', async () => {
      // BIRD is in no hurry after an error of the protocol: a minute, then more.
      await router.start(routerFile(kind, WIDE[4]).replace('  bfd on;\n', '  bfd on;\n  error wait time 1, 2;\n'));
      begin({ ...basic, asn: 65000 });
      await waitFor('a refusal', () => (peer()?.sent.notifications ?? 0) + (peer()?.received.notifications ?? 0) > 0);
      assert.deepEqual(reason(), { code: 'BgpNoSession', message: 'no session is up with 10.20.0.254 of autonomous system 65000' });
      assert.equal((await router.session(neighbour[4])).established, false);
      running.speaker.configure(config(basic));
      await sessionUp(router, neighbour[4]);
      await routed(ROUTES);
      await waitFor('the reason to go', () => reason() === undefined);
    });

    test('BFD where the daemon has it, and a session without it where it has not', async () => {
      await router.start(routerFile(kind, WIDE[4]));
      begin({ ...basic, bfd: { transmitMilliseconds: 200, receiveMilliseconds: 200, multiplier: 3 } });
      await sessionUp(router, neighbour[4]);
      await routed(ROUTES);
      if (programs.major === 4) {
        await waitFor('BFD at the router', () => router.bfdUp(neighbour[4]));
        await waitFor('BFD in the status', () => peer()?.bfd?.state === 'up');
        return;
      }
      assert.equal(await router.bfdUp(neighbour[4]), false);
      await waitFor('the status to say that there is none', () => running.speaker.document().error !== null);
      assert.match(running.speaker.document().error ?? '', /BFD/);
    });

    test('graceful restart: routes stay in the router while the daemon is away', async () => {
      await router.start(routerFile(kind, WIDE[4]));
      begin({ ...basic, gracefulRestartSeconds: 30 });
      await sessionUp(router, neighbour[4]);
      await routed(ROUTES);
      await daemon.stop('SIGKILL');
      await waitFor('the session to be down', async () => !(await router.session(neighbour[4])).established);
      assert.equal((await kernelRoutes(segment.router, 4)).size, ROUTES, 'nothing is gone');
      await daemon.start();
      await sessionUp(router, neighbour[4]);
      await waitFor('the routes to be told again', async () => (await router.count(4)) === ROUTES);
      assert.equal((await kernelRoutes(segment.router, 4)).size, ROUTES);
    });
  });
}

// The other two pairs are in bgp-routes.test.ts, with files of their own.
const [three, four] = gobgpPrograms();
for (const { kind, skip } of routerPrograms()) {
  const programs = kind === 'bird' ? three! : four!;
  scene(programs, kind, programs.skip === false ? skip : programs.skip);
}
