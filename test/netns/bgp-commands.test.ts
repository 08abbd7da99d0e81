/** The released program beside the real gobgpd, of both versions: check, neighbours, status, cleanup. Needs no IPVS. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { openDaemon } from '../../src/announce/bgp/client.ts';
import type { BgpDaemon } from '../../src/announce/bgp/daemon.ts';
import { outputSchemas } from '../../src/cli/schemas.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { LabAgent } from '../lab/agent.ts';
import { gobgpPrograms, type GobgpPrograms } from '../lab/bgp-daemons.ts';
import { example } from '../lab/bgp/documented.ts';
import { Gobgpd } from '../lab/bgp/gobgp.ts';
import { BgpSegment } from '../lab/bgp/segment.ts';
import { waitFor } from '../lab/wait.ts';
import { temporaryDirectory } from '../temporary-directory.ts';

const vip = '198.51.100.10';
const own = [`--bgp-asn=${example.asn}`, `--bgp-router-id=${example.directors[0][4]}`];
const peers = [`--bgp-peers=${example.router[4]},asn=${example.router.asn},hold=9s,bfd=300ms`];

let segment: BgpSegment;
before(async () => {
  segment = await BgpSegment.create();
});
after(() => segment.close());

interface Found {
  readonly findings: readonly { readonly level: string; readonly check: string; readonly message: string }[];
}

function tests(programs: GobgpPrograms): void {
  const { major, skip } = programs;
  test(`GoBGP ${major}: check, neighbours of the flags, status, cleanup`, { skip }, async () => {
    const [director] = segment.directors;
    const gobgpd = new Gobgpd(director, programs);
    const file = path.join(temporaryDirectory('ravel-bgp-'), 'cluster.json');
    writeFileSync(file, JSON.stringify({ nodes: [], services: [], config: { [vip]: {} } }));
    const agent = new LabAgent(director, 'bgp', file, [`--bgp-endpoint=${gobgpd.tcpEndpoint}`, ...own, ...peers]);
    const check = async (): Promise<string[]> => {
      const { stdout } = await agent.command('check', ['-o', 'json'], [0, 1]);
      const { findings } = outputSchemas['check']?.parse(JSON.parse(stdout)) as Found;
      return findings.filter(({ check: what }) => /BGP|system|neighbour|BFD/.test(what)).map(({ level, message }) => `${level} ${message}`);
    };
    let daemon: BgpDaemon | undefined;
    try {
      assert.match((await check()).join(), /^fail .*127\.0\.0\.1:50051.*ECONNREFUSED/);
      const blind = await agent.command('cleanup', [], [1]);
      assert.match(blind.stderr, /127\.0\.0\.1:50051/, 'of a machine in mode bgp that is a failure');

      await gobgpd.start();
      const before = await check();
      assert.equal(before[0], `ok 127.0.0.1:50051: GoBGP ${major}`);
      assert.match(before[1] ?? '', /^ok the daemon waits for one; the agent gives it 64512 with router ID/);
      assert.match(before[2] ?? '', /^ok 10\.20\.0\.254, AS 64513: the agent sets it up$/);
      assert.equal(before.filter((line) => /GoBGP 3 has none/.test(line)).length, major === 3 ? 1 : 0);

      agent.start();
      const bgp = await waitFor('the neighbour to be set up', async () => {
        const document = await agent.document();
        return document?.bgp?.state === 'connected' && document.bgp.peers.length === 1 ? document.bgp : undefined;
      });
      assert.deepEqual(bgp.daemon, { major, asn: example.asn, routerId: example.directors[0][4] });
      assert.deepEqual(
        bgp.peers.map(({ address, asn, managed, bfd }) => [address, asn, managed, bfd !== null]),
        [[example.router[4], example.router.asn, true, major === 4]],
      );
      const status = await agent.command('status', ['--sample=0']);
      assert.match(status.stdout, new RegExp(`^BGP daemon 127\\.0\\.0\\.1:50051: connected, GoBGP ${major}, AS 64512`, 'm'));
      assert.match((await check()).join('\n'), /^ok 64512, router ID/m);
      assert.equal(await agent.end(), 'status 0');

      daemon = openDaemon({ endpoint: gobgpd.endpoint, clock: systemClock });
      const route = { nextHop: '0.0.0.0', communities: [], largeCommunities: [] };
      assert.deepEqual(await daemon.add([{ prefix: `${vip}/32`, ...route }]), []);
      await gobgpd.cli('global', 'rib', 'add', '203.0.113.0/24', 'nexthop', '10.20.0.10');
      const cleaned = await agent.cleanup();
      assert.match(cleaned.stdout, /- path +198\.51\.100\.10\/32/);
      assert.match(cleaned.stdout, /- peer +neighbour 10\.20\.0\.254, AS 64513/);
      assert.deepEqual(
        (await daemon.list()).filter(({ ours }) => ours),
        [],
      );
      assert.deepEqual(await daemon.peers(), []);
      assert.match((await gobgpd.cli('global', 'rib')).stdout, /203\.0\.113\.0\/24/, 'an operator’s own');
    } finally {
      daemon?.close();
      await agent.end('SIGKILL');
      await gobgpd.stop();
    }
  });
}

for (const programs of gobgpPrograms()) tests(programs);
