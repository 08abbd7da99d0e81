import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { AddressDriver } from '../../src/drivers/addresses.ts';
import { AnnouncedAddressDriver } from '../../src/drivers/announced-addresses.ts';
import { FakeKernel } from './kernel.ts';

const VIP = '2001:db8::10';
const OTHER = '2001:db8::11';

async function bench(keepsProtocol = true) {
  const kernel = new FakeKernel();
  kernel.links.keepsProtocol = keepsProtocol;
  for (const name of ['eth0', 'eth1']) {
    kernel.links.addLink({ name, kind: 'veth', mac: '02:00:00:00:00:01', mtu: 1500, up: true, running: true, noArp: false });
  }
  const addresses = new AddressDriver(kernel.links, 'ravel0');
  const place = async (...vips: string[]) => {
    const { up, down } = await addresses.plan(vips);
    await addresses.apply([...up, ...down]);
  };
  await place(VIP, OTHER);
  const driver = (interfaceName = 'eth0') => new AnnouncedAddressDriver(kernel.links, interfaceName, 'ravel0');
  const on = async (name: string) => {
    const index = (await kernel.links.links()).find((link) => link.name === name)?.index;
    return (await kernel.links.addresses()).filter(({ interfaceIndex, scope }) => interfaceIndex === index && scope !== 'link');
  };
  return { kernel, driver, place, on };
}

async function pass(driver: AnnouncedAddressDriver, ...vips: string[]): Promise<string[]> {
  const { up, down } = await driver.plan(vips);
  const operations = [...down, ...up];
  assert.deepEqual((await driver.apply(operations)).failures, []);
  return operations.map((operation) => `${operation.op} ${'address' in operation ? `${operation.address} ${operation.interface}` : ''}`);
}

for (const keeps of [true, false]) {
  suite(`IPv6 VIPs on the announcing interface, ${keeps ? 'with' : 'without'} IFA_PROTO`, () => {
    test('an announced VIP is there, valid and never preferred; a withdrawn one is not', async () => {
      const { driver, on, kernel } = await bench(keeps);
      const announced = driver();
      assert.deepEqual(await pass(announced, VIP, '192.0.2.10'), [`addAddress ${VIP} eth0`]);
      assert.deepEqual(
        (await on('eth0')).map(({ address, prefix, protocol, preferredSeconds }) => [address, prefix, protocol, preferredSeconds]),
        [[VIP, 128, keeps ? 82 : 0, 0]],
      );
      assert.equal(announced.has(VIP), true);
      kernel.journal.clear();
      assert.deepEqual(await pass(announced, VIP), []);
      assert.deepEqual([kernel.journal.reads, kernel.writes], [0, 0], 'what took effect is known');
      assert.deepEqual(await pass(announced), [`deleteAddress ${VIP} eth0`]);
      assert.deepEqual([(await on('eth0')).length, announced.has(VIP)], [0, false]);
      assert.equal((await on('ravel0')).length, 2, 'the VIP device keeps its own');
    });

    test('a restarted agent adopts what is announced and removes what is not', async () => {
      const { driver, on, kernel } = await bench(keeps);
      await pass(driver(), VIP, OTHER);
      kernel.journal.clear();
      assert.deepEqual(await pass(driver(), VIP), [`deleteAddress ${OTHER} eth0`]);
      assert.deepEqual(
        (await on('eth0')).map(({ address }) => address),
        [VIP],
      );
    });

    test('an interface that it was announced on before is left', async () => {
      const { driver, on } = await bench(keeps);
      await pass(driver('eth1'), VIP);
      await pass(driver('eth0'), VIP);
      assert.deepEqual([(await on('eth0')).length, (await on('eth1')).length], [1, 0]);
    });

    test('addresses of others stay: another prefix, preferred, or with the number of somebody else', async () => {
      const { kernel, driver, on } = await bench(keeps);
      kernel.links.keepsProtocol = true;
      kernel.links.applyAsOther([
        { op: 'addAddress', interface: 'eth0', address: VIP, prefix: 64 },
        { op: 'addAddress', interface: 'eth0', address: '2001:db8::99', prefix: 128, preferredSeconds: 0 },
        { op: 'addAddress', interface: 'eth1', address: OTHER, prefix: 128, protocol: 9, preferredSeconds: 0 },
        { op: 'addAddress', interface: 'eth0', address: '192.0.2.1', prefix: 32, protocol: 82 },
      ]);
      const before = [await on('eth0'), await on('eth1')];
      const announced = driver();
      assert.deepEqual(await pass(announced, VIP), [], 'the address is there already');
      assert.equal(announced.has(VIP), true);
      assert.deepEqual(await pass(announced), []);
      assert.deepEqual(await announced.cleanupOperations(), []);
      assert.deepEqual([await on('eth0'), await on('eth1')], before);
    });
  });
}

test('where the VIP device itself announces, nothing is added', async () => {
  const { driver, kernel } = await bench();
  kernel.journal.clear();
  assert.deepEqual(await pass(driver('ravel0'), VIP), []);
  assert.equal(kernel.writes, 0);
});

test('a refused address is named and looked at again', async () => {
  const { driver, kernel } = await bench();
  const announced = driver();
  const { up } = await announced.plan([VIP, OTHER]);
  kernel.faults.failNext({ op: 'links.addAddress', code: 'ENODEV', subject: OTHER });
  const { written, failures } = await announced.apply(up);
  assert.deepEqual([written, failures.map(({ address, code }) => [address, code])], [1, [[OTHER, 'ENODEV']]]);
  assert.equal(announced.has(OTHER), undefined);
  assert.deepEqual(await pass(announced, VIP, OTHER), [`addAddress ${OTHER} eth0`]);
});
