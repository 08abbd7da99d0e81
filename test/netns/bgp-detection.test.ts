/**
 * How long a router goes on with a director whose cable is pulled: gobgpd with BFD as docs/bgp.md sets it up, and
 * without. Prints both.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { gobgpPrograms, routerPrograms } from '../lab/bgp-daemons.ts';
import { directorFile, example, routerFile } from '../lab/bgp/documented.ts';
import { Gobgpd } from '../lab/bgp/gobgp.ts';
import { kernelRoutes, sessionUp } from '../lab/bgp/router.ts';
import { BgpSegment, createRouter } from '../lab/bgp/segment.ts';
import { waitFor } from '../lab/wait.ts';

const vip = '198.51.100.10';
const prefix = `${vip}/32`;
/** Three intervals of 200 ms, and the router's own work. */
const BFD_LIMIT_MS = 1000;
/** Of docs/bgp.md, and as much as a busy machine may add. */
const HOLD_LIMIT_MS = 9000 + 3000;

let segment: BgpSegment;
before(async () => {
  segment = await BgpSegment.create();
});
after(() => segment.close());

const gobgp4 = gobgpPrograms().find(({ major }) => major === 4)!;

const hops = async (): Promise<string> => ((await kernelRoutes(segment.router, 4)).get(prefix) ?? []).join(' ');

/** Milliseconds from the pull to a route by the other director alone. */
async function detection(kind: 'bird' | 'frr', bfd: boolean): Promise<number> {
  const router = createRouter(kind, segment.router);
  const daemons = segment.directors.map((director) => new Gobgpd(director, gobgp4));
  const [first, second] = example.directors;
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

for (const { kind, skip } of routerPrograms()) {
  const reason = skip === false ? gobgp4.skip : skip;
  test(`${kind} with BFD: a director that is cut off has no route a second later`, { skip: reason }, async (context) => {
    const took = await detection(kind, true);
    context.diagnostic(`note: ${kind}, a director cut off, three intervals of 200 ms of BFD: without it after ${Math.round(took)} ms`);
    assert.ok(took <= BFD_LIMIT_MS, `${took} ms`);
  });
}

test(
  'without BFD the hold timer does it',
  { skip: routerPrograms()[0]!.skip === false ? gobgp4.skip : routerPrograms()[0]!.skip },
  async (context) => {
    const took = await detection('bird', false);
    context.diagnostic(`note: bird, a director cut off, hold time of 9 s: without it after ${Math.round(took)} ms`);
    assert.ok(took > BFD_LIMIT_MS && took <= HOLD_LIMIT_MS, `${took} ms`);
  },
);
