/** How long a router goes on with a director whose cable is pulled. */
import assert from 'node:assert/strict';
import { gobgpPrograms } from '../bgp-daemons.ts';
import { waitFor } from '../wait.ts';
import { directorFile, example, routerFile } from './documented.ts';
import { Gobgpd } from './gobgp.ts';
import { kernelRoutes, sessionUp, type Router } from './router.ts';
import { createRouter, type BgpSegment } from './segment.ts';

const prefix = '198.51.100.10/32';

/**
 * Both directors with GoBGP 4, with BFD as docs/bgp.md sets it up or without.
 * @returns milliseconds from the pull to a route of the kernel by the other director alone
 */
export async function detection(segment: BgpSegment, kind: Router['kind'], bfd: boolean): Promise<number> {
  const gobgp4 = gobgpPrograms().find(({ major }) => major === 4)!;
  const router = createRouter(kind, segment.router);
  const daemons = segment.directors.map((director) => new Gobgpd(director, gobgp4));
  const [first, second] = example.directors;
  const hops = async (): Promise<string> => ((await kernelRoutes(segment.router, 4)).get(prefix) ?? []).join(' ');
  try {
    await router.start(routerFile(kind));
    for (const [which, daemon] of daemons.entries()) {
      await daemon.start(directorFile(which as 0 | 1, bfd));
      await daemon.cli('global', 'rib', 'add', prefix, 'origin', 'igp');
    }
    for (const { 4: address } of example.directors) {
      await sessionUp(router, address);
      if (bfd) await waitFor(`BFD with ${address}`, () => router.bfdUp(address));
    }
    const both = [first[4], second[4]].sort().join(' ');
    await waitFor('routes by both', async () => (await hops()) === both);
    const before = await router.session(first[4]);
    await segment.plug('director2', 'down');
    const began = performance.now();
    while ((await hops()) === both) {
      if (performance.now() - began > 60_000) throw new Error('the route by both is still there after a minute');
    }
    const took = performance.now() - began;
    assert.equal(await hops(), first[4]);
    const after = await router.session(first[4]);
    assert.deepEqual([after.established, after.since], [true, before.since], 'nothing happened to the other session');
    return took;
  } finally {
    await segment.plug('director2', 'up');
    for (const daemon of daemons) await daemon.stop('SIGKILL');
    await router.stop();
  }
}
