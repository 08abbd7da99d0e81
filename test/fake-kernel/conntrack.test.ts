import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { ConntrackService } from '../../src/diff/conntrack.ts';
import { ConntrackDriver } from '../../src/drivers/conntrack.ts';
import type { ConntrackEndpoint } from '../../src/native/conntrack-types.ts';
import { PROTOCOL_NUMBER } from '../../src/native/ipvs-constants.ts';
import type { Protocol } from '../../src/native/ipvs-types.ts';
import { FakeConntrack, type Packet } from './conntrack-table.ts';

const VIP = '192.0.2.10';
const POD1: ConntrackEndpoint = { address: '10.1.1.1', port: 5353 };
const POD2: ConntrackEndpoint = { address: '10.1.1.2', port: 5353 };

function service(protocol: Protocol, pods: readonly ConntrackEndpoint[], port = 53): ConntrackService {
  return { key: `${protocol} ${VIP}:${port}`, address: VIP, protocol: PROTOCOL_NUMBER[protocol], port, pods };
}

const desired = (...services: readonly ConntrackService[]) => new Map(services.map((each) => [each.key, each]));

const packet = (protocol: Protocol, port: number, to = 53): Packet => ({
  protocol,
  source: { address: '203.0.113.9', port },
  destination: { address: VIP, port: to },
});

/** Rules as they are programmed: the first pod of what is desired. */
function program(kernel: FakeConntrack, services: ReadonlyMap<string, ConntrackService>): typeof services {
  kernel.rules = ({ protocol, destination }) => services.get(`${protocol} ${destination.address}:${destination.port}`)?.pods[0];
  return services;
}

async function pass(driver: ConntrackDriver, services: ReadonlyMap<string, ConntrackService>): Promise<number> {
  const { written, failures } = await driver.apply(await driver.plan(services));
  assert.deepEqual(failures, []);
  return written;
}

suite('the conntrack driver', () => {
  test('a pod is replaced: the sender that never pauses reaches the new one after one pass', async () => {
    const kernel = new FakeConntrack();
    const driver = new ConntrackDriver(kernel);
    const before = program(kernel, desired(service('udp', [POD1])));
    assert.deepEqual(kernel.send(packet('udp', 1)), POD1);
    assert.equal(await pass(driver, before), 0);
    const after = program(kernel, desired(service('udp', [POD2])));
    assert.deepEqual(kernel.send(packet('udp', 1)), POD1);
    const plan = await driver.plan(after);
    assert.deepEqual(plan.services, [{ key: `udp ${VIP}:53`, entries: 1 }]);
    assert.equal((await driver.apply(plan)).written, 1);
    assert.deepEqual(kernel.send(packet('udp', 1)), POD2);
    assert.equal(await pass(driver, after), 0);
  });

  test('no pods, then pods again: nothing is deleted twice in between', async () => {
    const kernel = new FakeConntrack();
    const driver = new ConntrackDriver(kernel);
    const none = desired(service('udp', []));
    await pass(driver, program(kernel, desired(service('udp', [POD1]))));
    kernel.send(packet('udp', 1));
    assert.equal(await pass(driver, program(kernel, none)), 1);
    for (let k = 0; k < 3; k++) {
      // The sender goes on: its flow is tracked, and untranslated. That is no reason to delete it for ever.
      assert.deepEqual(kernel.send(packet('udp', 1)), { address: VIP, port: 53 });
      assert.equal(await pass(driver, none), 0);
    }
    assert.equal(await pass(driver, program(kernel, desired(service('udp', [POD2])))), 1);
    assert.deepEqual(kernel.send(packet('udp', 1)), POD2);
  });

  test('a deleted virtual service is looked after until a reading finds nothing of it', async () => {
    const kernel = new FakeConntrack();
    const driver = new ConntrackDriver(kernel);
    await pass(driver, program(kernel, desired(service('udp', [POD1]), service('udp', [POD1], 54))));
    kernel.send(packet('udp', 1));
    const rest = program(kernel, desired(service('udp', [POD1], 54)));
    assert.equal(await pass(driver, rest), 1);
    assert.equal(driver.retired, 1);
    assert.equal(await pass(driver, rest), 0);
    assert.equal(driver.retired, 0);
    kernel.calls.length = 0;
    await pass(driver, rest);
    assert.deepEqual(kernel.calls, ['entries udp 1']);
  });

  test('a virtual service that went while no agent ran is handed over, and comes back unharmed', async () => {
    const kernel = new FakeConntrack();
    program(kernel, desired(service('udp', [POD1])));
    kernel.send(packet('udp', 1));
    kernel.rules = () => undefined;
    const driver = new ConntrackDriver(kernel);
    assert.equal(await pass(driver, desired()), 0);
    driver.retire([service('udp', [])]);
    assert.equal(await pass(driver, desired()), 1);
    const again = program(kernel, desired(service('udp', [POD1])));
    driver.retire(again.values());
    kernel.send(packet('udp', 2));
    assert.equal(await pass(driver, again), 0);
    assert.equal(driver.retired, 0);
  });

  test('an agent that starts on what it left behind deletes nothing', async () => {
    const kernel = new FakeConntrack();
    const services = program(kernel, desired(service('udp', [POD1, POD2]), service('tcp', [POD1]), service('sctp', [POD2])));
    for (let port = 1; port < 50; port++) for (const protocol of ['udp', 'tcp', 'sctp'] as const) kernel.send(packet(protocol, port));
    const before = structuredClone(kernel.table);
    assert.equal(await pass(new ConntrackDriver(kernel), services), 0);
    assert.equal(await pass(new ConntrackDriver(kernel, { tcp: true }), services), 0);
    assert.deepEqual(kernel.table, before);
  });

  test('connections end by themselves, unless asked otherwise', async () => {
    const kernel = new FakeConntrack();
    program(kernel, desired(service('tcp', [POD1])));
    kernel.send(packet('tcp', 1));
    const after = program(kernel, desired(service('tcp', [POD2])));
    assert.equal(await pass(new ConntrackDriver(kernel), after), 0);
    assert.deepEqual(kernel.calls, []);
    assert.equal(await pass(new ConntrackDriver(kernel, { tcp: true }), after), 1);
  });

  test('beside a director what no rule translates is left to it', async () => {
    const kernel = new FakeConntrack();
    kernel.send(packet('udp', 1));
    const services = desired(service('udp', [POD1]));
    assert.equal(await pass(new ConntrackDriver(kernel, { keepUntranslated: true }), services), 0);
    assert.equal(await pass(new ConntrackDriver(kernel), services), 1);
  });

  test('foreign flows survive as they were, those to other ports of the VIP too', async () => {
    const kernel = new FakeConntrack();
    const driver = new ConntrackDriver(kernel);
    await pass(driver, desired(service('udp', [POD1])));
    kernel.rules = () => POD1;
    const foreign: Packet[] = [
      packet('udp', 1, 99),
      packet('sctp', 1),
      { ...packet('udp', 1), destination: { address: '192.0.2.11', port: 53 } },
      { ...packet('udp', 1), destination: POD1 },
    ];
    for (const each of foreign) kernel.send(each);
    const before = structuredClone(kernel.table);
    kernel.send(packet('udp', 1));
    assert.equal(await pass(driver, desired(service('udp', [POD2]))), 1);
    assert.deepEqual(kernel.table, before);
  });

  test('a flow that begins anew between reading and deleting survives, though its id is the old one', async () => {
    const kernel = new FakeConntrack();
    const driver = new ConntrackDriver(kernel);
    await pass(driver, program(kernel, desired(service('udp', [POD1]))));
    kernel.send(packet('udp', 1));
    const after = program(kernel, desired(service('udp', [POD2])));
    kernel.afterEntries = () => {
      kernel.expire(packet('udp', 1).source);
      kernel.send(packet('udp', 1));
    };
    const plan = await driver.plan(after);
    assert.deepEqual(plan.services, [{ key: `udp ${VIP}:53`, entries: 1 }]);
    assert.deepEqual(await driver.apply(plan), { written: 0, failures: [] });
    assert.deepEqual(kernel.send(packet('udp', 1)), POD2);
  });

  test('what the kernel refuses is a failure of its virtual service; the rest is deleted', async () => {
    const kernel = new FakeConntrack();
    program(kernel, desired(service('udp', [POD1])));
    for (const port of [1, 2, 3]) kernel.send(packet('udp', port));
    kernel.refuse.set(2, { errno: 16, code: 'EBUSY' });
    const driver = new ConntrackDriver(kernel);
    const { written, failures } = await driver.apply(await driver.plan(desired(service('udp', [POD2]))));
    assert.equal(written, 2);
    assert.deepEqual(failures, [
      {
        op: 'conntrack.remove',
        subject: `udp 203.0.113.9:2 -> ${VIP}:53 (answered by 10.1.1.1:5353)`,
        code: 'EBUSY',
        message: `conntrack.remove udp 203.0.113.9:2 -> ${VIP}:53 (answered by 10.1.1.1:5353): EBUSY (operation 1 of the batch)`,
        key: `udp ${VIP}:53`,
      },
    ]);
  });

  test('a reading that fails loses no virtual service', async () => {
    const kernel = new FakeConntrack();
    const driver = new ConntrackDriver(kernel);
    await pass(driver, program(kernel, desired(service('udp', [POD1]))));
    kernel.send(packet('udp', 1));
    kernel.afterEntries = () => {
      throw new Error('read lost');
    };
    await assert.rejects(async () => driver.plan(desired()), /read lost/);
    kernel.afterEntries = () => undefined;
    assert.equal(await pass(driver, program(kernel, desired())), 1);
  });

  test('nothing to look for is nothing to read', async () => {
    const kernel = new FakeConntrack();
    await pass(new ConntrackDriver(kernel), desired(service('tcp', [POD1])));
    assert.deepEqual(kernel.calls, []);
  });
});
