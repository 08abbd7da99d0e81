/** Devices and addresses: errno per operation and what the lists show. */
import assert from 'node:assert/strict';
import type { LinkEvent, LinkOperation, LinksPort } from '../../src/native/link-types.ts';
import type { ConformanceCase } from './expect.ts';
import { outcomes } from './expect.ts';

const DEVICE = 'ravel0';
const add = (address: string, prefix = 32): LinkOperation => ({ op: 'addAddress', interface: DEVICE, address, prefix });
const remove = (address: string, prefix = 32): LinkOperation => ({ op: 'deleteAddress', interface: DEVICE, address, prefix });

function batch(name: string, ...steps: readonly [LinkOperation, string?][]): ConformanceCase<LinksPort> {
  return {
    name,
    async run(port) {
      const result = await port.apply(steps.map(([operation]) => operation));
      assert.deepEqual(
        outcomes(result, steps.length),
        steps.map(([, code]) => code),
      );
    },
  };
}

/** Global addresses of the device, as `address/prefix`. */
async function placed(port: LinksPort): Promise<string[]> {
  const device = (await port.links()).find(({ name }) => name === DEVICE);
  const addresses = (await port.addresses()).filter(({ interfaceIndex, scope }) => interfaceIndex === device?.index && scope !== 'link');
  return addresses.map(({ address, prefix }) => `${address}/${prefix}`).sort();
}

/** The operations all work; then these addresses are on the device. */
function holds(name: string, operations: readonly LinkOperation[], expected: readonly string[]): ConformanceCase<LinksPort> {
  return {
    name,
    async run(port) {
      assert.deepEqual((await port.apply(operations)).failed, []);
      assert.deepEqual(await placed(port), expected);
    },
  };
}

/** On a device that is there: a dummy, or whatever stands in for one where the kernel has none. */
export const addressCases: readonly ConformanceCase<LinksPort>[] = [
  batch('an address is added once', [add('192.0.2.10')], [add('192.0.2.10'), 'EEXIST']),
  batch('an address that is not there', [remove('192.0.2.10'), 'EADDRNOTAVAIL']),
  batch('an address with another prefix is not there', [add('192.0.2.10')], [remove('192.0.2.10', 24), 'EADDRNOTAVAIL']),
  batch('an address of IPv6 is added once', [add('2001:db8::10', 128)], [add('2001:db8::10', 128), 'EEXIST']),
  batch('an address of IPv6 with another prefix is there all the same', [add('2001:db8::10', 128)], [add('2001:db8::10', 64), 'EEXIST']),
  {
    name: 'an address that is never preferred lives for ever',
    async run(port) {
      const operation = {
        op: 'addAddress',
        interface: DEVICE,
        address: '2001:db8::10',
        prefix: 128,
        noDad: true,
        preferredSeconds: 0,
      } as const;
      assert.deepEqual((await port.apply([operation])).failed, []);
      const held = (await port.addresses()).find(({ address }) => address === '2001:db8::10');
      assert.deepEqual([held?.preferredSeconds, held?.validSeconds], [0, 0xffff_ffff]);
    },
  },
  batch('an address of IPv6 that is not there', [remove('2001:db8::10', 128), 'EADDRNOTAVAIL']),
  batch('an address on a device that is not there', [
    { op: 'addAddress', interface: 'nosuch0', address: '192.0.2.10', prefix: 32 },
    'ENODEV',
  ]),
  batch('no address from a device that is not there', [
    { op: 'deleteAddress', interface: 'nosuch0', address: '192.0.2.10', prefix: 32 },
    'ENODEV',
  ]),
  batch('settings of a device that is not there', [{ op: 'setLink', name: 'nosuch0', up: true }, 'ENODEV']),
  batch('deleting a device that is not there', [{ op: 'deleteLink', name: 'nosuch0' }, 'ENODEV']),
  batch('a batch goes on after a failure', [remove('192.0.2.10'), 'EADDRNOTAVAIL'], [add('192.0.2.11')]),
  holds('several addresses', [add('192.0.2.10'), add('192.0.2.11')], ['192.0.2.10/32', '192.0.2.11/32']),
  holds('one address with two prefixes', [add('192.0.2.10', 24), add('192.0.2.10')], ['192.0.2.10/24', '192.0.2.10/32']),
  holds('host prefixes stand alone', [add('192.0.2.10'), add('192.0.2.11'), remove('192.0.2.10')], ['192.0.2.11/32']),
  holds('a primary address takes its secondaries along', [add('192.0.2.10', 24), add('192.0.2.11', 24), remove('192.0.2.10', 24)], []),
  holds('a secondary address goes alone', [add('192.0.2.10', 24), add('192.0.2.11', 24), remove('192.0.2.11', 24)], ['192.0.2.10/24']),
  {
    name: 'secondary addresses say so',
    async run(port) {
      await port.apply([add('192.0.2.10', 24), add('192.0.2.11', 24)]);
      const flags = new Map((await port.addresses()).map(({ address, flags: bits }) => [address, bits & 1]));
      assert.deepEqual([flags.get('192.0.2.10'), flags.get('192.0.2.11')], [0, 1]);
    },
  },
  {
    name: 'watchers hear of addresses that come and go',
    async run(port) {
      const abort = new AbortController();
      const events = port.watch(['address'], { signal: abort.signal })[Symbol.asyncIterator]();
      // A kernel subscription takes effect with the first call that is queued after it.
      await port.links();
      await port.apply([add('192.0.2.10'), remove('192.0.2.10')]);
      const seen: string[] = [];
      while (seen.length < 2) {
        const result: IteratorResult<LinkEvent, undefined> = await events.next();
        assert.notEqual(result.done, true, 'the watch ended');
        if (result.value?.type === 'address') seen.push(`${result.value.change} ${result.value.address.address}`);
      }
      abort.abort();
      assert.deepEqual(seen, ['new 192.0.2.10', 'deleted 192.0.2.10']);
    },
  },
];

/** Where the kernel has the dummy module; the device is not there yet. */
export const deviceCases: readonly ConformanceCase<LinksPort>[] = [
  batch('a device is added once', [{ op: 'addDummy', name: DEVICE }], [{ op: 'addDummy', name: DEVICE }, 'EEXIST']),
  batch(
    'a device is deleted once',
    [{ op: 'addDummy', name: DEVICE }],
    [{ op: 'deleteLink', name: DEVICE }],
    [{ op: 'deleteLink', name: DEVICE }, 'ENODEV'],
  ),
  {
    name: 'a device as asked for',
    async run(port) {
      assert.deepEqual((await port.apply([{ op: 'addDummy', name: DEVICE, mtu: 9000, noArp: true, up: true }])).failed, []);
      const device = (await port.links()).find(({ name }) => name === DEVICE);
      assert.ok(device);
      const { kind, mtu, noArp, up } = device;
      assert.deepEqual({ kind, mtu, noArp, up }, { kind: 'dummy', mtu: 9000, noArp: true, up: true });
    },
  },
  {
    name: 'settings of a device change one by one',
    async run(port) {
      await port.apply([{ op: 'addDummy', name: DEVICE, up: true }]);
      assert.deepEqual((await port.apply([{ op: 'setLink', name: DEVICE, mtu: 1400 }])).failed, []);
      const device = (await port.links()).find(({ name }) => name === DEVICE);
      assert.deepEqual([device?.mtu, device?.up], [1400, true]);
    },
  },
  {
    name: 'a device takes its addresses along',
    async run(port) {
      await port.apply([{ op: 'addDummy', name: DEVICE, up: true }, add('192.0.2.10')]);
      assert.deepEqual(await placed(port), ['192.0.2.10/32']);
      await port.apply([
        { op: 'deleteLink', name: DEVICE },
        { op: 'addDummy', name: DEVICE, up: true },
      ]);
      assert.deepEqual(await placed(port), []);
    },
  },
  {
    name: 'an address keeps while the device is down',
    async run(port) {
      assert.deepEqual((await port.apply([{ op: 'addDummy', name: DEVICE }, add('192.0.2.10')])).failed, []);
      assert.deepEqual(await placed(port), ['192.0.2.10/32']);
    },
  },
];

const tunnels = [
  ['ipip', 'tunl0'],
  ['ip6tnl', 'ip6tnl0'],
  ['gre', 'gre0'],
  ['ip6gre', 'ip6gre0'],
] as const;

/** Where the kernel has the modules of tunnels. */
export const tunnelCases: readonly ConformanceCase<LinksPort>[] = tunnels.flatMap(([kind, name]): ConformanceCase<LinksPort>[] => {
  const found = async (port: LinksPort) => (await port.links()).find((link) => link.name === name);
  return [
    {
      name: `${name}: asked for twice it is there once, and comes up and goes down`,
      async run(port) {
        for (let time = 0; time < 2; time++)
          assert.deepEqual(await port.apply([{ op: 'addTunnel', name, kind }]), { applied: 1, failed: [] });
        assert.equal((await found(port))?.kind, kind);
        for (const up of [true, false]) {
          assert.deepEqual((await port.apply([{ op: 'setLink', name, up }])).failed, []);
          assert.equal((await found(port))?.up, up);
        }
      },
    },
    {
      name: `${name}: deleting it is no error and leaves it`,
      async run(port) {
        await port.apply([{ op: 'addTunnel', name, kind }]);
        assert.deepEqual((await port.apply([{ op: 'deleteLink', name }])).failed, []);
        assert.equal((await found(port))?.kind, kind);
      },
    },
    {
      name: `${name}: one of another name is refused while it is there`,
      async run(port) {
        await port.apply([{ op: 'addTunnel', name, kind }]);
        const result = await port.apply([{ op: 'addTunnel', name: 'another0', kind }]);
        assert.deepEqual(outcomes(result, 1), ['EEXIST']);
      },
    },
  ];
});
