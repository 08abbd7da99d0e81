import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NAT_TABLE } from '../../src/diff/nat-layout.ts';
import { NatState } from '../../src/diff/nat-state.ts';
import { diffNat } from '../../src/diff/nat.ts';
import { FakeKernel } from '../fake-kernel/kernel.ts';
import { Histories } from './histories.ts';
import { natHistory, operationCount, picture, playNatHistory, readNat } from './nat-history.ts';

test('apply(diff(a, b), a) is b, every prefix is safe for traffic, foreign tables survive', async (t) => {
  const histories = new Histories();
  await fc.assert(
    fc.asyncProperty(natHistory, async (history) => {
      histories.add();
      await playNatHistory(history, new FakeKernel().nftables, () => new FakeKernel().nftables);
    }),
    { numRuns: 4000 },
  );
  histories.report(t, 'nftables on the fake kernel');
});

test('a plan for the keys that changed leads where a plan for everything does', async () => {
  await fc.assert(
    fc.asyncProperty(natHistory, async ({ steps }) => {
      const port = new FakeKernel().nftables;
      const state = new NatState();
      let held: ReadonlyMap<string, unknown> = new Map();
      for (const [at, { target, limit }] of steps.entries()) {
        // A change of policy touches every rule, so it is never planned by key.
        const wanted = { ...target, masquerade: steps[0]?.target.masquerade ?? target.masquerade };
        const keys = [...new Set([...held.keys(), ...wanted.services.keys()])].filter((key) => held.get(key) !== wanted.services.get(key));
        const plan = diffNat(state, wanted, at === 0 ? { limit } : { keys, limit });
        for (const operations of plan.transactions) {
          await port.commit(operations);
          state.apply(operations);
        }
        assert.deepEqual(diffNat(await readNat(port), wanted).transactions, []);
        held = wanted.services;
      }
    }),
    { numRuns: 1000 },
  );
});

interface Picture {
  readonly chains: readonly [string, { readonly rules: readonly unknown[] }][];
  readonly contents: readonly [string, readonly string[]][];
}

/** An element is written once to come and once to go; a chain with each of its rules to come, and flushed and deleted to go. */
function leastOperations(before: Picture, after: Picture): number {
  let count = 0;
  const [oldElements, newElements] = [before, after].map(
    ({ contents }) => new Set(contents.flatMap(([set, texts]) => texts.map((text) => `${set} ${text}`))),
  );
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
        const before = await picture(port, NAT_TABLE);
        const { transactions } = diffNat(await readNat(port), target);
        for (const operations of transactions) await port.commit(operations);
        if (at === 0) continue;
        const count = transactions.reduce((sum, operations) => sum + operationCount(operations), 0);
        assert.equal(count, leastOperations(before as Picture, (await picture(port, NAT_TABLE)) as Picture));
      }
    }),
    { numRuns: 1000 },
  );
});
