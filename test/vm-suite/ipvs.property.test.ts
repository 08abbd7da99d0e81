/** The histories of test/property/ipvs.property.test.ts, on a kernel with IPVS. */
import { test } from 'node:test';
import fc from 'fast-check';
import { toObjects } from '../../src/native/ipvs-columns.ts';
import { Ipvs } from '../../src/native/ipvs.ts';
import { Netns } from '../../src/native/netns.ts';
import { Histories } from '../property/histories.ts';
import { ipvsHistory, playIpvsHistory } from '../property/ipvs-history.ts';

test('apply(diff(a, b), a) is b on Linux, every prefix is legal, foreign services survive', async (t) => {
  const histories = new Histories();
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  await fc.assert(
    fc.asyncProperty(ipvsHistory, async (history) => {
      histories.add();
      const left = toObjects(await ipvs.snapshot());
      await ipvs.apply(left.map(({ id }) => ({ op: 'deleteService', service: id })));
      await playIpvsHistory(history, ipvs);
    }),
    { numRuns: 300 },
  );
  histories.report(t, 'IPVS on Linux');
});
