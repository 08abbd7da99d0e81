/**
 * How long a router goes on with a director whose cable is pulled: gobgpd with BFD as docs/bgp.md sets it up, and
 * without. Prints both.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { gobgpPrograms, routerPrograms } from '../lab/bgp-daemons.ts';
import { detection } from '../lab/bgp/detection.ts';
import { BgpSegment } from '../lab/bgp/segment.ts';

/** Three intervals of 300 ms and the router's own work take less than 1 s, which `make bench` judges; a busy machine is allowed more. */
const BFD_LIMIT_MS = 3000;
/** Of docs/bgp.md, and as much as a busy machine may add. */
const HOLD_LIMIT_MS = 9000 + 3000;

let segment: BgpSegment;
before(async () => {
  segment = await BgpSegment.create();
});
after(() => segment.close());

const gobgp4 = gobgpPrograms().find(({ major }) => major === 4)!;

for (const { kind, skip } of routerPrograms()) {
  const reason = skip === false ? gobgp4.skip : skip;
  test(`${kind} with BFD: a director that is cut off has no route soon after`, { skip: reason }, async (context) => {
    const took = await detection(segment, kind, true);
    context.diagnostic(`note: ${kind}, a director cut off, three intervals of 300 ms of BFD: without it after ${Math.round(took)} ms`);
    assert.ok(took <= BFD_LIMIT_MS, `${took} ms`);
  });
}

test(
  'without BFD the hold timer does it',
  { skip: routerPrograms()[0]!.skip === false ? gobgp4.skip : routerPrograms()[0]!.skip },
  async (context) => {
    const took = await detection(segment, 'bird', false);
    context.diagnostic(`note: bird, a director cut off, hold time of 9 s: without it after ${Math.round(took)} ms`);
    assert.ok(took > BFD_LIMIT_MS && took <= HOLD_LIMIT_MS, `${took} ms`);
  },
);
