import { suite, test } from 'node:test';
import { ipvsSyncCases } from '../conformance/ipvs-sync.ts';
import { ipvsCases } from '../conformance/ipvs.ts';
import { addressCases, deviceCases, tunnelCases } from '../conformance/links.ts';
import { nftablesCases } from '../conformance/nftables.ts';
import { FakeKernel } from './kernel.ts';

suite('conformance of the fake: IPVS', () => {
  for (const { name, run } of ipvsCases) test(name, () => run(new FakeKernel().ipvs));
});

suite('conformance of the fake: connection synchronization', () => {
  for (const { name, run } of ipvsSyncCases) {
    test(name, async () => {
      const { links, ipvs } = new FakeKernel();
      links.applyAsOther([{ op: 'addDummy', name: 'd0', up: true }]);
      await run(ipvs);
    });
  }
});

suite('conformance of the fake: nftables', () => {
  for (const { name, run } of nftablesCases) test(name, () => run(new FakeKernel().nftables));
});

suite('conformance of the fake: addresses', () => {
  for (const { name, run } of addressCases) {
    test(name, async () => {
      const { links } = new FakeKernel();
      links.applyAsOther([{ op: 'addDummy', name: 'ravel0', up: true }]);
      await run(links);
    });
  }
});

suite('conformance of the fake: devices', () => {
  for (const { name, run } of [...deviceCases, ...tunnelCases]) test(name, () => run(new FakeKernel().links));
});
