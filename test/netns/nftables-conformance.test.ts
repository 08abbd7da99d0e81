import { suite, test } from 'node:test';
import { Netns } from '../../src/native/netns.ts';
import { Nftables } from '../../src/native/nftables.ts';
import { nftablesCases } from '../conformance/nftables.ts';

suite('conformance of Linux: nftables', () => {
  for (const { name, run } of nftablesCases) {
    test(name, async () => {
      await using netns = await Netns.create();
      await using nftables = await Nftables.open({ netns });
      await run(nftables);
    });
  }
});
