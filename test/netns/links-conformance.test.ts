import { suite, test } from 'node:test';
import { Links } from '../../src/native/links.ts';
import { Netns } from '../../src/native/netns.ts';
import { addressCases } from '../conformance/links.ts';
import { ip } from './tools.ts';

suite('conformance of Linux: addresses', () => {
  for (const { name, run } of addressCases) {
    test(name, async () => {
      await using netns = await Netns.create();
      // Addresses are the same on every kind of device; this kernel need not have the dummy module.
      await ip(netns, 'link', 'add', 'ravel0', 'type', 'veth', 'peer', 'name', 'other0');
      await ip(netns, 'link', 'set', 'ravel0', 'up');
      await using links = await Links.open({ netns });
      await run(links);
    });
  }
});
