/**
 * The configurations of docs/bgp.md with real daemons: gobgpd of both versions with its own file, and BIRD, FRR and
 * GoBGP on the other side. Routes are put in by hand; agents have tests of their own.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { gobgpPrograms, routerPrograms } from '../lab/bgp-daemons.ts';
import { directorFile, documented, example, routerFile } from '../lab/bgp/documented.ts';
import { Gobgpd } from '../lab/bgp/gobgp.ts';
import { kernelRoutes, sessionUp } from '../lab/bgp/router.ts';
import { BgpSegment, createRouter } from '../lab/bgp/segment.ts';
import { waitFor } from '../lab/wait.ts';

const vip = { 4: '198.51.100.10/32', 6: '2001:db8:100::10/128' } as const;
/** Nobody has told the router that this is a range of VIPs. */
const stranger = '203.0.113.10/32';
const families = [4, 6] as const;

let segment: BgpSegment;
before(async () => {
  segment = await BgpSegment.create();
});
after(() => segment.close());

const programs = gobgpPrograms();
/** Of both versions, or of the one that is here. */
const present = programs.filter(({ skip }) => skip === false);
const pair = [present[0], present.at(-1)] as const;

async function announce(daemon: Gobgpd, verb: 'add' | 'del', prefix: string): Promise<void> {
  const [family, hop] = prefix.includes(':') ? ['ipv6', '::'] : ['ipv4', '0.0.0.0'];
  await daemon.cli('global', 'rib', verb, prefix, ...(verb === 'add' ? ['nexthop', hop, 'origin', 'igp'] : []), '-a', family);
}

function hops(count: 1 | 2, family: 4 | 6): string[] {
  return example.directors
    .slice(0, count)
    .map((director) => director[family])
    .sort();
}

async function routed(family: 4 | 6, expected: readonly string[]): Promise<void> {
  await waitFor(`${vip[family]} by ${expected.join(' and ')}`, async () => {
    const found = (await kernelRoutes(segment.router, family)).get(vip[family]) ?? [];
    if (found.join() === expected.join()) return true;
    throw new Error(`by ${found.join(' and ')}`);
  });
}

for (const { kind, skip } of routerPrograms()) {
  const reason = skip === false ? (pair[0]?.skip ?? 'no gobgpd is here') : skip;
  test(`${kind}: two directors, one route of the kernel by both, in both families`, { skip: reason }, async () => {
    const router = createRouter(kind, segment.router);
    const daemons = segment.directors.map((director, which) => new Gobgpd(director, pair[which as 0 | 1]!));
    try {
      await router.start(routerFile(kind));
      for (const [which, daemon] of daemons.entries()) {
        await daemon.start(directorFile(which as 0 | 1, daemon.programs.major === 4));
        await announce(daemon, 'add', vip[4]);
        await announce(daemon, 'add', vip[6]);
        await announce(daemon, 'add', stranger);
      }
      for (const director of example.directors) for (const family of families) await sessionUp(router, director[family]);
      for (const family of families) await routed(family, hops(2, family));
      assert.deepEqual([...(await kernelRoutes(segment.router, 4)).keys()], [vip[4]], 'what is not among the VIPs is not taken');
      for (const [which, daemon] of daemons.entries()) {
        if (daemon.programs.major !== 4) continue;
        const director = example.directors[which]!;
        for (const family of families) await waitFor('BFD to be up', () => router.bfdUp(director[family]));
      }
      for (const family of families) await announce(daemons[1]!, 'del', vip[family]);
      for (const family of families) await routed(family, hops(1, family));
      for (const family of families) assert.equal(await router.count(family), 1);
    } finally {
      for (const daemon of daemons) await daemon.stop();
      await router.stop();
    }
    assert.deepEqual([...(await kernelRoutes(segment.router, 4)).keys()], [], 'the next test begins with none');
  });
}

for (const { major, skip } of programs) {
  test(`GoBGP ${major} on the other side takes the routes of a director`, { skip }, async () => {
    const far = new Gobgpd(
      segment.router,
      programs.find((each) => each.major === major)!,
    );
    const near = new Gobgpd(segment.directors[0], pair[0]!);
    try {
      await far.start(documented('GoBGP'));
      await near.start(directorFile(0));
      for (const family of families) await announce(near, 'add', vip[family]);
      for (const family of families) {
        await waitFor(`${vip[family]} at the other side`, async () => {
          const { stdout } = await far.cli('global', 'rib', '-j', '-a', `ipv${family}`);
          return stdout.includes(vip[family]) && stdout.includes(`"nexthop":"${example.directors[0][family]}"`);
        });
      }
    } finally {
      await near.stop();
      await far.stop();
    }
  });
}
