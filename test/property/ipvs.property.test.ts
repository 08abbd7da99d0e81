import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DesiredIpvsService } from '../../src/desired/types.ts';
import { FakeKernel } from '../fake-kernel/kernel.ts';
import { Histories } from './histories.ts';
import { ipvsHistory, planIpvs, playIpvsHistory } from './ipvs-history.ts';

test('apply(diff(a, b), a) is b, every prefix is legal, foreign services survive', async (t) => {
  const histories = new Histories();
  await fc.assert(
    fc.asyncProperty(ipvsHistory, async (history) => {
      histories.add();
      await playIpvsHistory(history, new FakeKernel().ipvs);
    }),
    { numRuns: 4000 },
  );
  histories.report(t, 'IPVS on the fake kernel');
});

test('a plan for the keys that changed is the plan for everything', async () => {
  await fc.assert(
    fc.asyncProperty(ipvsHistory, async ({ targets }) => {
      const kernel = new FakeKernel();
      let held: ReadonlyMap<string, DesiredIpvsService> = new Map();
      for (const target of targets) {
        const observed = await kernel.ipvs.snapshot();
        const whole = planIpvs(target, observed);
        const keys = new Set([...held.keys(), ...target.keys()].filter((key) => held.get(key) !== target.get(key)));
        assert.deepEqual(planIpvs(target, observed, { keys }).operations, whole.operations);
        await kernel.ipvs.apply(whole.operations.map(({ operation }) => operation));
        held = target;
      }
    }),
    { numRuns: 500 },
  );
});

test('a service that is made anew comes with all of its destinations in the same pass', async () => {
  await fc.assert(
    fc.asyncProperty(ipvsHistory, async ({ targets }) => {
      const kernel = new FakeKernel();
      for (const target of targets) {
        const recreate = new Set(target.keys());
        const plan = planIpvs(target, await kernel.ipvs.snapshot(), { recreate });
        assert.deepEqual((await kernel.ipvs.apply(plan.operations.map(({ operation }) => operation))).failed, []);
        assert.deepEqual(planIpvs(target, await kernel.ipvs.snapshot()).operations, []);
      }
    }),
    { numRuns: 200 },
  );
});
