import { suite, test } from 'node:test';
import { Ipvs } from '../../src/native/ipvs.ts';
import { Netns } from '../../src/native/netns.ts';
import { ipvsSyncCases } from '../conformance/ipvs-sync.ts';
import { ipvsCases } from '../conformance/ipvs.ts';
import { run as runIn } from './ipvsadm.ts';

suite('conformance of Linux: IPVS', () => {
  for (const { name, run } of ipvsCases) {
    test(name, async () => {
      await using netns = await Netns.create();
      await using ipvs = await Ipvs.open({ netns });
      await run(ipvs);
    });
  }
});

suite('conformance of Linux: connection synchronization', () => {
  for (const { name, run } of ipvsSyncCases) {
    test(name, async () => {
      await using netns = await Netns.create();
      await using ipvs = await Ipvs.open({ netns });
      runIn(netns, 'ip', ['-batch', '-'], 'link add d0 type dummy\nlink set d0 up multicast on\naddr add 10.20.0.254/24 dev d0\n');
      await run(ipvs);
    });
  }
});
