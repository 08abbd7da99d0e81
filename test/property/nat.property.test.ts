import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DesiredNat, NatServiceId } from '../../src/desired/types.ts';
import { NAT_LAYOUTS } from '../../src/diff/nat-layout.ts';
import { NatState } from '../../src/diff/nat-state.ts';
import { diffNat } from '../../src/diff/nat.ts';
import { FakeKernel } from '../fake-kernel/kernel.ts';
import { Histories } from './histories.ts';
import { FAMILIES, natHistory, operationCount, picture, playNatHistory, readNat } from './nat-history.ts';

test('apply(diff(a, b), a) is b, every prefix is safe for traffic, foreign tables survive', async (t) => {
  const histories = new Histories();
  await fc.assert(
    fc.asyncProperty(natHistory, async (history) => {
      histories.add();
      await playNatHistory(history, new FakeKernel().nftables, () => new FakeKernel().nftables);
    }),
    { numRuns: 2000 },
  );
  histories.report(t, 'nftables on the fake kernel');
});

test('a plan for the keys that changed leads where a plan for everything does', async () => {
  await fc.assert(
    fc.asyncProperty(natHistory, fc.nat(0xffffff), async ({ steps }, seed) => {
      const port = new FakeKernel().nftables;
      const states = FAMILIES.map((family) => new NatState(NAT_LAYOUTS[family]));
      let held: readonly (ReadonlyMap<string, unknown> | undefined)[] = [];
      for (const [at, { target: aim, limit }] of steps.entries()) {
        // What is not about virtual services is never planned by key. A VIP keeps a table that has no service left.
        const { masquerade, outside = [], segments = new Map(), counters = true } = steps[0]?.target ?? aim;
        const wanted = { ...aim, masquerade, outside, segments, counters, addresses: ['192.0.2.10', '2001:db8::10'] };
        const asked = [wanted.services, wanted.inside, wanted.masqueraded];
        const all = [...new Set([...held, ...asked].flatMap((map) => [...(map?.keys() ?? [])]))];
        // Only some change: those that do not may share chains and pods with those that do.
        const keys = all.filter((_, turn) => at === 0 || (seed >> turn) % 2 === 1);
        const now = asked.map((map, part) => {
          const next = new Map<string, unknown>(held[part]);
          for (const key of keys) next.delete(key);
          for (const key of keys) if (map?.has(key) === true) next.set(key, map.get(key));
          return next;
        });
        const [services, inside, masqueraded] = now as [DesiredNat['services'], DesiredNat['services'], Map<string, NatServiceId>];
        const target = { ...wanted, services, inside, masqueraded };
        for (const state of states) {
          const plan = diffNat(state, target, at === 0 ? { limit } : { keys, limit });
          for (const operations of plan.transactions) {
            await port.commit(operations);
            state.apply(operations);
          }
          assert.deepEqual(diffNat(await readNat(port, state.layout.family), target).transactions, []);
        }
        held = now;
      }
    }),
    { numRuns: 1000 },
  );
});

interface Picture {
  readonly sets: readonly [string, unknown][];
  readonly chains: readonly [string, { readonly rules: readonly unknown[] }][];
  readonly contents: readonly [string, readonly string[]][];
}

/**
 * An element is written once to come and once to go, unless its whole set goes; a set once; a chain with each of its
 * rules to come, and flushed and deleted to go.
 */
function leastOperations(before: Picture, after: Picture): number {
  let count = 0;
  const [oldSets, newSets] = [before, after].map(({ sets }) => new Set(sets.map(([name]) => name)));
  const [oldElements, newElements] = [before, after].map(
    ({ contents }) =>
      new Set(contents.filter(([set]) => newSets?.has(set) === true).flatMap(([set, texts]) => texts.map((text) => `${set} ${text}`))),
  );
  for (const name of oldSets ?? []) if (newSets?.has(name) !== true) count++;
  for (const name of newSets ?? []) if (oldSets?.has(name) !== true) count++;
  for (const text of oldElements ?? []) if (newElements?.has(text) !== true) count++;
  for (const text of newElements ?? []) if (oldElements?.has(text) !== true) count++;
  const oldChains = new Map(before.chains);
  const newChains = new Map(after.chains);
  for (const [name, { rules }] of newChains) {
    const held = oldChains.get(name);
    if (held === undefined || JSON.stringify(held) !== JSON.stringify({ ...held, rules })) count += 1 + rules.length;
  }
  for (const name of oldChains.keys()) if (!newChains.has(name)) count += 2;
  return count;
}

test('no operation is superfluous', async () => {
  await fc.assert(
    fc.asyncProperty(natHistory, async ({ steps }) => {
      const port = new FakeKernel().nftables;
      for (const [at, { target }] of steps.entries()) {
        for (const family of FAMILIES) {
          const { table } = NAT_LAYOUTS[family];
          const before = await picture(port, table);
          // A table is made and deleted whole, and so it is when its services begin or cease to count.
          const wanted = { ...target, counters: true, addresses: ['192.0.2.10', '2001:db8::10'] };
          const { transactions } = diffNat(await readNat(port, family), wanted);
          for (const operations of transactions) await port.commit(operations);
          if (at === 0) continue;
          const count = transactions.reduce((sum, operations) => sum + operationCount(operations), 0);
          assert.equal(count, leastOperations(before as Picture, (await picture(port, table)) as Picture));
        }
      }
    }),
    { numRuns: 1000 },
  );
});
