/** The histories of test/property/nat.property.test.ts, on the running kernel. */
import { test } from 'node:test';
import fc from 'fast-check';
import { Netns } from '../../src/native/netns.ts';
import { Nftables } from '../../src/native/nftables.ts';
import { FakeKernel } from '../fake-kernel/kernel.ts';
import { Histories } from '../property/histories.ts';
import { FOREIGN_TABLES, natHistory, playNatHistory } from '../property/nat-history.ts';
import { NAT_TABLE, NAT_TABLE_6 } from '../../src/diff/nat-layout.ts';

test('apply(diff(a, b), a) is b on Linux, every prefix is safe for traffic, foreign tables survive', async (t) => {
  const histories = new Histories();
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  await fc.assert(
    fc.asyncProperty(natHistory, async (history) => {
      histories.add();
      // Each history starts with nothing; the fake shows what the table must look like in the end.
      for (const table of [NAT_TABLE, NAT_TABLE_6, ...FOREIGN_TABLES]) {
        await nftables.commit([
          { op: 'addTable', table },
          { op: 'deleteTable', table },
        ]);
      }
      await playNatHistory(history, nftables, () => new FakeKernel().nftables);
    }),
    { numRuns: 300 },
  );
  histories.report(t, 'nftables on Linux');
});
