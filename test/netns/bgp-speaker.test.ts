/**
 * The speaker with the real gobgpd, of both versions, and another GoBGP on the other side that counts what it is told. Neighbours
 * are set up by the agent.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { openDaemon } from '../../src/announce/bgp/client.ts';
import type { PeerStatus } from '../../src/announce/bgp/daemon.ts';
import { Speaker } from '../../src/announce/bgp/speaker.ts';
import type { BgpConfig } from '../../src/model/bgp.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { gobgpPrograms, type GobgpPrograms } from '../lab/bgp-daemons.ts';
import { example } from '../lab/bgp/documented.ts';
import { Gobgpd } from '../lab/bgp/gobgp.ts';
import { BgpSegment } from '../lab/bgp/segment.ts';
import { waitFor } from '../lab/wait.ts';

const [router, asn] = [example.router[4], example.asn];
const vips = Array.from({ length: 1000 }, (_, index) =>
  index % 2 === 0 ? `198.51.${100 + (index >> 8)}.${index & 255}` : `2001:db8:100::${index.toString(16)}`,
);
const prefixes = (family: 4 | 6): number => vips.filter((vip) => vip.includes(':') === (family === 6)).length;

let segment: BgpSegment;
let folder: string;
before(async () => {
  segment = await BgpSegment.create();
  folder = mkdtempSync(path.join(tmpdir(), 'bgp-speaker-'));
});
after(async () => {
  await segment.close();
  rmSync(folder, { recursive: true });
});

/** The other side: knows the director by its address and a password, and reports what it is told. */
const farFile = `
[global.config]
  as = ${example.router.asn}
  router-id = "${router}"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "${example.directors[0][4]}"
    peer-as = ${asn}
    auth-password = "first secret"
  [neighbors.transport.config]
    passive-mode = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
`;

/** One life of an agent. */
class Life {
  readonly speaker: Speaker;
  readonly #end = new AbortController();
  readonly #ended: Promise<void>;

  constructor(daemon: Gobgpd, lines: string[]) {
    const write = (message: string, fields?: Readonly<Record<string, unknown>>): void =>
      void lines.push(`${message} ${JSON.stringify(fields)}`);
    this.speaker = new Speaker({
      ...{ endpoint: daemon.endpoint, clock: systemClock, random: Math.random, log: { debug: () => {}, info: write, warn: write } },
      connect: () => openDaemon({ endpoint: daemon.endpoint, clock: systemClock }),
      routes: {
        attributes: { communities: [asn * 65536 + 100], largeCommunities: [[asn, 1, 2]], med: 10 },
        nextHop: {},
        prefixLength: { 4: 32, 6: 128 },
      },
      readPassword: (file) => readFile(file),
      ...{ auditMilliseconds: 1000, pollMilliseconds: 300 },
    });
    this.#ended = this.speaker.run(this.#end.signal);
  }

  /** As a director after its first look at everything. */
  async wants(config: BgpConfig, wanted: readonly string[]): Promise<void> {
    this.speaker.configure(config);
    const stays = new Set(wanted);
    await this.speaker.withdrawOthers((vip) => stays.has(vip));
    this.speaker.announce(wanted);
    await this.announced(wanted.length);
  }

  async announced(count: number): Promise<void> {
    await waitFor(`${count} routes to be announced`, () => {
      const { paths, error } = this.speaker.document();
      if (paths.announced === count && paths.wanted === count) return true;
      throw new Error(`${paths.announced} of ${paths.wanted}: ${error ?? 'no error'}`);
    });
  }

  async peer(judge: (peer: PeerStatus) => boolean): Promise<PeerStatus> {
    return waitFor('the neighbour', () => {
      const [peer] = this.speaker.document().peers;
      if (peer !== undefined && judge(peer)) return peer;
      throw new Error(`${JSON.stringify(peer)}, ${this.speaker.document().error ?? 'no error'}`);
    });
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#ended;
  }
}

async function received(far: Gobgpd, family: 4 | 6): Promise<number> {
  const { stdout } = await far.cli('global', 'rib', '-j', '-a', `ipv${family}`);
  return Object.keys(JSON.parse(stdout) as object).length;
}

function tests(programs: GobgpPrograms): void {
  const { major, skip } = programs;
  test(`GoBGP ${major}: 1,000 VIPs, their changes, an agent and a daemon that restart`, { skip }, async () => {
    const near = new Gobgpd(segment.directors[0], programs);
    const far = new Gobgpd(segment.router, programs);
    const file = path.join(folder, `password-${major}`);
    writeFileSync(file, 'first secret\n', { mode: 0o600 });
    const lines: string[] = [];
    const config: BgpConfig = {
      ...{ speaker: { asn, routerId: example.directors[0][4], listenPort: -1 }, routes: new Map() },
      peers: [{ address: router, asn: example.router.asn, passwordFile: file, holdSeconds: 9, connectRetrySeconds: 1, families: [4, 6] }],
    };
    let life: Life | undefined;
    try {
      await far.start(farFile);
      await near.start();
      life = new Life(near, lines);
      await life.wants(config, vips);
      const up = await life.peer(({ state, sent }) => state === 'established' && sent.updates > 0);
      await waitFor(
        'the other side to have all',
        async () => (await received(far, 4)) === prefixes(4) && (await received(far, 6)) === prefixes(6),
      );
      assert.equal(life.speaker.status(vips[0]!)?.reason, undefined);

      // At rest, over some audits: not one UPDATE, not one write to a neighbour.
      const rest = await life.peer(({ sent }) => sent.updates >= up.sent.updates);
      await new Promise((resolve) => setTimeout(resolve, 2500));
      const still = await life.peer(() => true);
      assert.deepEqual([still.sent.updates, still.flaps], [rest.sent.updates, rest.flaps]);
      assert.equal(life.speaker.document().paths.added, 1000);
      assert.equal(lines.filter((line) => line.startsWith('neighbour ')).length, 1, lines.join('\n'));

      // An agent that restarts: the same.
      await life.stop();
      life = new Life(near, lines);
      await life.wants(config, vips);
      const again = await life.peer(({ state }) => state === 'established');
      assert.deepEqual([again.sent.updates, again.establishedSeconds], [rest.sent.updates, rest.establishedSeconds]);
      assert.deepEqual(life.speaker.document().paths, { wanted: 1000, announced: 1000, added: 0, withdrawn: 0 });

      // Changes, one by one: no more UPDATEs than changes (the daemon puts some that follow each other closely into one).
      for (const vip of vips.slice(0, 100)) assert.equal(await life.speaker.withdraw([vip]), true);
      for (const vip of vips.slice(0, 100)) {
        life.speaker.announce([vip]);
        await life.announced(901 + vips.indexOf(vip));
      }
      await waitFor(
        'the other side to have all',
        async () => (await received(far, 4)) === prefixes(4) && (await received(far, 6)) === prefixes(6),
      );
      await new Promise((resolve) => setTimeout(resolve, 500));
      const changed = await life.peer(() => true);
      const updates = changed.sent.updates - rest.sent.updates;
      assert.ok(updates >= 2 && updates <= 200, `${updates} UPDATEs for 200 changes`);
      assert.equal(changed.establishedSeconds, rest.establishedSeconds);

      // What an operator deletes comes back; what an operator adds stays.
      await near.cli('global', 'rib', 'add', '203.0.113.1/32', 'nexthop', '0.0.0.0', '-a', 'ipv4');
      await near.cli('global', 'rib', 'del', 'all', '-a', 'ipv4');
      await waitFor('the deleted routes to be back', async () => (await received(far, 4)) === prefixes(4));
      await near.cli('global', 'rib', 'add', '203.0.113.1/32', 'nexthop', '0.0.0.0', '-a', 'ipv4');

      // A password that changes is used, and only then does the session go down.
      writeFileSync(file, 'second secret\n');
      await waitFor('the changed password to be noticed', () => lines.some((line) => line.includes('"differs":"password"')));
      await waitFor('the session to be down', () => life?.speaker.status(vips[0]!)?.reason?.code === 'BgpNoSession');
      writeFileSync(file, 'first secret\n');
      await life.peer(({ state }) => state === 'established');
      assert.ok(!lines.join('\n').includes('secret"') && !JSON.stringify(life.speaker.document()).includes(' secret'));

      // A daemon that is killed comes back with nothing, and is filled.
      await near.stop('SIGKILL');
      await waitFor('the daemon to be missed', () => life?.speaker.document().state === 'unreachable');
      await near.start();
      await life.announced(1000);
      await life.peer(({ state }) => state === 'established');
      await waitFor(
        'the other side to have all again',
        async () => (await received(far, 4)) === prefixes(4) && (await received(far, 6)) === prefixes(6),
      );

      // A planned stop leaves nothing of ours.
      await near.cli('global', 'rib', 'add', '203.0.113.2/32', 'nexthop', '0.0.0.0', '-a', 'ipv4');
      await life.speaker.drain(1000);
      await waitFor(
        'only the route of the operator to be left',
        async () => (await received(far, 4)) === 1 && (await received(far, 6)) === 0,
      );
    } finally {
      await life?.stop();
      await near.stop();
      await far.stop();
    }
  });
}

for (const programs of gobgpPrograms()) tests(programs);
