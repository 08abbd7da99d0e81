import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { diffAddresses } from '../../src/diff/addresses.ts';
import type { LinkOperation } from '../../src/native/link-types.ts';
import { FakeKernel } from '../fake-kernel/kernel.ts';
import { Histories } from './histories.ts';

const DEVICE = 'ravel0';
const PROTOCOL = 82;
const VIPS = ['192.0.2.10', '192.0.2.11', '192.0.2.12', '2001:db8::10', '2001:db8::11'];

const target = fc.uniqueArray(fc.constantFrom(...VIPS));

/** Somebody else's doing on our device and on others. */
const meddling: fc.Arbitrary<LinkOperation> = fc.oneof(
  fc.record({
    op: fc.constant('addAddress' as const),
    interface: fc.constantFrom(DEVICE, 'eth0', 'kube-ipvs0'),
    address: fc.constantFrom('192.0.2.10', '192.0.2.11', '192.0.2.99'),
    prefix: fc.constantFrom(32, 24),
  }),
  fc.record({
    op: fc.constant('deleteAddress' as const),
    interface: fc.constant(DEVICE),
    address: fc.constantFrom('192.0.2.10', '192.0.2.11'),
    prefix: fc.constant(32),
  }),
  fc.record({ op: fc.constant('deleteLink' as const), name: fc.constant(DEVICE) }),
  fc.record({ op: fc.constant('setLink' as const), name: fc.constant(DEVICE), up: fc.boolean(), mtu: fc.constantFrom(1400, 1500) }),
);

const history = fc.array(
  fc.record({
    addresses: target,
    mtu: fc.constantFrom(undefined, 1500, 9000),
    meddling: fc.array(meddling, { maxLength: 3 }),
    cut: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  { minLength: 1, maxLength: 4 },
);

function machine(): FakeKernel['links'] {
  const { links } = new FakeKernel();
  links.addLink({ name: 'eth0', kind: undefined, mac: '02:00:00:00:00:02', mtu: 1500, up: true, running: true, noArp: false });
  links.applyAsOther([
    { op: 'addAddress', interface: 'eth0', address: '10.20.0.11', prefix: 24 },
    { op: 'addDummy', name: 'kube-ipvs0' },
    { op: 'addAddress', interface: 'kube-ipvs0', address: '10.96.0.1', prefix: 32 },
    { op: 'addDummy', name: 'nodelocaldns' },
    { op: 'addDummy', name: 'dummy7', up: true },
  ]);
  return links;
}

/** Everything that is not on our device, less what changes by itself. */
async function elsewhere(links: FakeKernel['links']): Promise<unknown> {
  const device = (await links.links()).find(({ name }) => name === DEVICE);
  return {
    links: (await links.links()).filter((link) => link !== device),
    addresses: (await links.addresses()).filter(({ interfaceIndex }) => interfaceIndex !== device?.index),
  };
}

async function observe(links: FakeKernel['links']) {
  return [await links.links(), await links.addresses()] as const;
}

test('apply(diff(a, b), a) is b, every prefix is legal, other devices are left alone', async (t) => {
  const histories = new Histories();
  await fc.assert(
    fc.asyncProperty(history, async (steps) => {
      histories.add();
      const links = machine();
      for (const { addresses, mtu, meddling: acts, cut } of steps) {
        for (const act of acts) {
          try {
            links.applyAsOther([act]);
          } catch {
            // Not every act is possible in every state.
          }
        }
        const before = await elsewhere(links);
        const device = { name: DEVICE, addresses, protocol: PROTOCOL, ...(mtu === undefined ? {} : { mtu }) };
        const plan = diffAddresses(device, ...(await observe(links)));
        const operations = [...plan.up, ...plan.down];
        assert.deepEqual(diffAddresses({ ...device, addresses: addresses.toReversed() }, ...(await observe(links))), plan);
        const first = operations.slice(0, Math.floor(cut * operations.length));
        assert.deepEqual((await links.apply(first)).failed, []);
        const rest = diffAddresses(device, ...(await observe(links)));
        assert.equal(rest.up.length + rest.down.length, operations.length - first.length, 'a fresh look finds the rest, no more');
        assert.deepEqual((await links.apply([...rest.up, ...rest.down])).failed, []);
        const [after, placed] = await observe(links);
        const link = after.find(({ name }) => name === DEVICE);
        assert.deepEqual([link?.kind, link?.up, link?.noArp, link?.mtu], ['dummy', true, true, mtu ?? link?.mtu]);
        const held = placed.filter(({ interfaceIndex, scope }) => interfaceIndex === link?.index && scope !== 'link');
        assert.deepEqual(held.map(({ address }) => address).sort(), addresses.toSorted());
        assert.deepEqual(diffAddresses(device, after, placed), { up: [], down: [], conflict: undefined });
        assert.deepEqual(await elsewhere(links), before);
      }
    }),
    { numRuns: 2000 },
  );
  histories.report(t, 'addresses on the fake kernel');
});

test('a device of our name that is no dummy is left alone', async () => {
  const { links } = new FakeKernel();
  links.addLink({ name: DEVICE, kind: 'veth', mac: '02:00:00:00:00:02', mtu: 1500, up: false, running: false, noArp: false });
  const plan = diffAddresses({ name: DEVICE, addresses: VIPS, protocol: PROTOCOL }, ...(await observe(links)));
  assert.deepEqual([plan.up, plan.down], [[], []]);
  assert.match(plan.conflict ?? '', /veth/);
});
