import { suite, test } from 'node:test';
import { Ipvs } from '../../src/native/ipvs.ts';
import { Netns } from '../../src/native/netns.ts';
import { ipvsCases } from '../conformance/ipvs.ts';

suite('conformance of Linux: IPVS', () => {
  for (const { name, run } of ipvsCases) {
    test(name, async () => {
      await using netns = await Netns.create();
      await using ipvs = await Ipvs.open({ netns });
      await run(ipvs);
    });
  }
});
