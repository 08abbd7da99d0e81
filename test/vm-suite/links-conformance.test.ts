import { suite, test } from 'node:test';
import { Links } from '../../src/native/links.ts';
import { Netns } from '../../src/native/netns.ts';
import { addressCases, deviceCases, tunnelCases } from '../conformance/links.ts';

suite('conformance of Linux: addresses on a dummy device', () => {
  for (const { name, run } of addressCases) {
    test(name, async () => {
      await using netns = await Netns.create();
      await using links = await Links.open({ netns });
      await links.apply([{ op: 'addDummy', name: 'ravel0', up: true }]);
      await run(links);
    });
  }
});

suite('conformance of Linux: devices', () => {
  for (const { name, run } of [...deviceCases, ...tunnelCases]) {
    test(name, async () => {
      await using netns = await Netns.create();
      await using links = await Links.open({ netns });
      await run(links);
    });
  }
});
