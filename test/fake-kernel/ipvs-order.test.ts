/** Destinations of mh services are put in order: what is taken out, what is kept from ending meanwhile, and what happens where that cannot be had. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { DesiredIpvsService } from '../../src/desired/types.ts';
import { IpvsDriver, type IpvsOrdering } from '../../src/drivers/ipvs.ts';
import { toObjects } from '../../src/native/ipvs-columns.ts';
import type { IpvsOperation } from '../../src/native/ipvs-types.ts';
import { changed, cluster, whole } from './cluster.ts';
import { FakeKernel } from './kernel.ts';
import { Rig } from './rig.ts';

const key = 'tcp 192.0.2.10:80';
const setting = 'net/ipv4/vs/expire_nodest_conn';

function bench(value = '1') {
  const kernel = new FakeKernel();
  kernel.sysctls.values.set(setting, value);
  let noted = false;
  const journal: IpvsOrdering['journal'] = {
    path: 'journal',
    loadLingering: () => Promise.resolve(noted),
    saveLingering: (now) => Promise.resolve(void (noted = now)),
  };
  const open = () => new IpvsDriver(kernel.ipvs, { sysctls: kernel.sysctls, journal });
  return { kernel, driver: open(), open, noted: () => noted };
}

/** Last group of the address → weight. */
function targetOf(weights: Readonly<Record<number, number>>, scheduler = 'mh') {
  const destinations = Object.entries(weights).map(([last, weight]) => ({
    id: { address: `10.20.${Math.floor(Number(last) / 250)}.${Number(last) % 250}`, port: 80 },
    spec: { forward: 'direct' as const, weight },
  }));
  const id = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const;
  const service: DesiredIpvsService = { key, id, spec: { scheduler, schedulerFlags: [1, 2] }, destinations };
  return { services: new Map([[key, service]]), ownership: { configured: () => true, placed: () => true, vip: () => true } };
}

async function pass(driver: IpvsDriver, target: ReturnType<typeof targetOf>) {
  const plan = await driver.plan(target);
  return { ...(await driver.apply(target, plan)), texts: plan.operations.map(({ phase, operation }) => `${phase} ${textOf(operation)}`) };
}

function textOf(operation: IpvsOperation): string {
  const last = 'destination' in operation ? (operation.destination.address.split('.').at(-1) ?? '') : 'service';
  const verb = operation.op.replace('Destination', '').replace('Service', '');
  return `${verb} ${last}${'spec' in operation && 'weight' in operation.spec ? ` x${operation.spec.weight}` : ''}`;
}

const listed = async (kernel: FakeKernel): Promise<string[]> =>
  (toObjects(await kernel.ipvs.snapshot())[0]?.destinations ?? []).map(({ id, spec }) => `${id.address.split('.').at(-1)} x${spec.weight}`);

suite('destinations of mh in one order', () => {
  test('made at once: by address, and nothing is taken out', async () => {
    const { kernel, driver } = bench();
    const { texts } = await pass(driver, targetOf({ 11: 1, 9: 2, 100: 1 }));
    assert.deepEqual(texts, ['putService add service', 'addDestination add 9 x2', 'addDestination add 11 x1', 'addDestination add 100 x1']);
    assert.deepEqual(await listed(kernel), ['100 x1', '11 x1', '9 x2']);
  });

  test('a new one in the middle: only those that belong before it are taken out, one at a time', async () => {
    const { kernel, driver } = bench();
    await pass(driver, targetOf({ 9: 1, 11: 1, 13: 2, 14: 3 }));
    const { texts, failures } = await pass(driver, targetOf({ 9: 1, 11: 1, 12: 1, 13: 2, 14: 3 }));
    assert.deepEqual(texts, ['place add 12 x1', 'place delete 13', 'place add 13 x2', 'place delete 14', 'place add 14 x3']);
    assert.deepEqual(failures, []);
    assert.deepEqual(await listed(kernel), ['14 x3', '13 x2', '12 x1', '11 x1', '9 x1']);
  });

  test('a new one with the largest address, a removal, other weights: nothing is taken out', async () => {
    const { kernel, driver } = bench();
    await pass(driver, targetOf({ 9: 1, 11: 1, 13: 2 }));
    kernel.journal.clear();
    const { texts } = await pass(driver, targetOf({ 9: 3, 13: 1, 15: 1 }));
    assert.deepEqual(texts, ['lower set 13 x1', 'deleteDestination delete 11', 'addDestination add 15 x1', 'raise set 9 x3']);
    assert.equal(
      kernel.journal.calls.some(({ op }) => op === 'sysctl.write'),
      false,
    );
  });

  test('other schedulers mind no order', async () => {
    const { driver } = bench();
    await pass(driver, targetOf({ 9: 1, 13: 2 }, 'wrr'));
    assert.deepEqual((await pass(driver, targetOf({ 9: 1, 11: 4, 13: 2 }, 'wrr'))).texts, ['addDestination add 11 x4']);
  });

  test('weight 0 is reached in place by way of 1, and made anew once its connections are over', async () => {
    const { kernel, driver, noted } = bench();
    await pass(driver, targetOf({ 9: 3, 11: 3 }));
    kernel.ipvs.setConnections(key, '10.20.0.9:80', 7);
    assert.deepEqual((await pass(driver, targetOf({ 9: 0, 11: 3 }))).texts, ['lower set 9 x1', 'lower set 9 x0']);
    assert.deepEqual(kernel.ipvs.turns(key), ['10.20.0.11:80 x3', '10.20.0.9:80 x1']);
    assert.equal(noted(), true);
    assert.deepEqual((await pass(driver, targetOf({ 9: 0, 11: 3 }))).texts, []);
    kernel.ipvs.setConnections(key, '10.20.0.9:80', 0, 0);
    assert.deepEqual((await pass(driver, targetOf({ 9: 0, 11: 3 }))).texts, ['place delete 9', 'place add 9 x0']);
    assert.deepEqual(kernel.ipvs.turns(key), ['10.20.0.11:80 x3']);
    assert.equal(noted(), false);
    assert.deepEqual((await pass(driver, targetOf({ 9: 0, 11: 3 }))).texts, []);
  });

  test('the process that emptied it dies: the next one knows that it lingers', async () => {
    const { kernel, driver, open } = bench();
    await pass(driver, targetOf({ 9: 3, 11: 3 }));
    await pass(driver, targetOf({ 9: 0, 11: 3 }));
    assert.deepEqual((await pass(open(), targetOf({ 9: 0, 11: 3 }))).texts, ['place delete 9', 'place add 9 x0']);
    assert.deepEqual(kernel.ipvs.turns(key), ['10.20.0.11:80 x3']);
    // Without the note a destination of weight 0 is taken for one that never had another.
    assert.deepEqual((await pass(open(), targetOf({ 9: 0, 11: 3 }))).texts, []);
  });

  test('a destination with weight back in its place is raised where it stands', async () => {
    const { driver } = bench();
    await pass(driver, targetOf({ 9: 3, 11: 3, 13: 1 }));
    await pass(driver, targetOf({ 9: 3, 11: 0, 13: 1 }));
    assert.deepEqual((await pass(driver, targetOf({ 9: 3, 11: 2, 13: 1 }))).texts, ['raiseFromZero set 11 x2']);
  });

  test('another scheduler becomes mh: what had no weight is made anew, the rest is put in order', async () => {
    const { kernel, driver } = bench();
    await pass(driver, targetOf({ 13: 1, 9: 3 }, 'wrr'));
    await pass(driver, targetOf({ 13: 1, 9: 3, 11: 1 }, 'wrr'));
    await pass(driver, targetOf({ 13: 0, 9: 3, 11: 1 }, 'wrr'));
    await pass(driver, targetOf({ 13: 0, 9: 3, 11: 1 }));
    assert.deepEqual(kernel.ipvs.turns(key), ['10.20.0.11:80 x1', '10.20.0.9:80 x3']);
  });

  test('the same without a look at the kernel: in doubt, and put in order by the next look', async () => {
    const { kernel, driver } = bench();
    await pass(driver, targetOf({ 13: 1, 9: 3 }, 'wrr'));
    await kernel.ipvs.apply([
      { op: 'deleteDestination', service: targetOf({}).services.get(key)!.id, destination: { address: '10.20.0.9', port: 80 } },
    ]);
    driver.forget();
    await pass(driver, targetOf({ 13: 1, 9: 3 }, 'wrr'));
    const target = targetOf({ 13: 1, 9: 3 });
    const keys = new Set([key]);
    const plan = driver.planKeys(target, keys);
    assert.deepEqual(
      plan.operations.map(({ operation }) => textOf(operation)),
      ['set service'],
    );
    await driver.apply(target, plan, keys);
    assert.equal(driver.knows(keys), false);
    assert.deepEqual(await listed(kernel), ['9 x3', '13 x1']);
    await pass(driver, target);
    assert.deepEqual(await listed(kernel), ['13 x1', '9 x3']);
    assert.equal(driver.knows(keys), true);
  });
});

suite('connections while destinations are put in order', () => {
  const reordering = async (value: string) => {
    const rig = bench(value);
    await pass(rig.driver, targetOf({ 9: 1, 13: 2 }));
    rig.kernel.journal.clear();
    return rig;
  };

  test('none ends for want of its destination: the setting is lowered before, and put back after', async () => {
    const { kernel, driver } = await reordering('1');
    await pass(driver, targetOf({ 9: 1, 11: 1, 13: 2 }));
    const { calls } = kernel.journal;
    assert.deepEqual(
      calls.map(({ op }) => op),
      ['sysctl.write', 'ipvs.addDestination', 'ipvs.deleteDestination', 'ipvs.addDestination', 'sysctl.write'],
    );
    assert.equal(kernel.sysctls.values.get(setting), '1');
  });

  test('where it is 0, or the kernel has none, it is left alone', async () => {
    const { kernel, driver } = await reordering('0');
    await pass(driver, targetOf({ 9: 1, 11: 1, 13: 2 }));
    assert.equal(kernel.sysctls.values.get(setting), '0');
    kernel.sysctls.values.delete(setting);
    assert.deepEqual((await pass(driver, targetOf({ 9: 1, 10: 1, 11: 1, 13: 2 }))).failures, []);
    assert.equal(
      kernel.journal.calls.some(({ op }) => op === 'sysctl.write'),
      false,
    );
  });

  test('it is put back when the kernel breaks off, and when it refuses', async () => {
    const { kernel, driver } = await reordering('1');
    kernel.faults.failNext({ op: 'ipvs.apply', code: 'TIMEOUT' });
    await assert.rejects(pass(driver, targetOf({ 9: 1, 11: 1, 13: 2 })), { name: 'TimeoutError' });
    assert.equal(kernel.sysctls.values.get(setting), '1');
    kernel.faults.failNext({ op: 'ipvs.addDestination', code: 'ENOMEM', after: 1 });
    assert.equal((await pass(driver, targetOf({ 9: 1, 11: 1, 13: 2 }))).failures.length, 1);
    assert.equal(kernel.sysctls.values.get(setting), '1');
    await pass(driver, targetOf({ 9: 1, 11: 1, 13: 2 }));
    assert.deepEqual(await listed(kernel), ['13 x2', '11 x1', '9 x1']);
  });

  test('where it cannot be lowered nothing is taken out: added where it falls, with a warning, and nothing fails any more', async () => {
    const { kernel, driver } = await reordering('1');
    kernel.sysctls.readOnly = true;
    await assert.rejects(pass(driver, targetOf({ 9: 1, 11: 1, 13: 2 })), { name: 'NotKeptError' });
    assert.equal(
      kernel.journal.calls.some(({ op }) => op.startsWith('ipvs.')),
      false,
    );
    const { texts, failures } = await pass(driver, targetOf({ 9: 1, 11: 1, 13: 2 }));
    assert.deepEqual([texts, failures], [['addDestination add 11 x1'], []]);
    assert.match(driver.warnings.join(), /not put in order.*expire_nodest_conn/);
    assert.deepEqual((await pass(driver, targetOf({ 9: 1, 11: 1, 13: 2 }))).texts, []);
  });

  test('no signal parts the two operations of one destination: they are in one send', async () => {
    const { kernel } = bench();
    const calls: (readonly IpvsOperation[])[] = [];
    const port = {
      ...{ info: () => kernel.ipvs.info(), snapshot: () => kernel.ipvs.snapshot() },
      apply: (operations: readonly IpvsOperation[]) => (calls.push(operations), kernel.ipvs.apply(operations)),
    };
    const journal = { path: '', loadLingering: () => Promise.resolve(false), saveLingering: () => Promise.resolve() };
    const driver = new IpvsDriver(port, { sysctls: kernel.sysctls, journal });
    const many = Object.fromEntries(Array.from({ length: 1300 }, (_, at) => [at + 2, 1]));
    await pass(driver, targetOf(many));
    calls.length = 0;
    // One more at the tail: all of them have to come before it, and one is lowered meanwhile.
    await pass(driver, targetOf({ ...many, 1: 1 }));
    assert.deepEqual(
      calls.map((operations) => operations.length),
      [999, 1000, 602],
    );
    for (const operations of calls) assert.notEqual(operations.at(-1)?.op, 'deleteDestination');
    assert.equal((await pass(driver, targetOf({ ...many, 1: 1 }))).texts.length, 0);
  });
});

suite('a director that is told of another scheduler while it runs', () => {
  const nodes = ['n1', 'n2', 'n3'];
  const stateOf = (pods: readonly string[], scheduler: 'wrr' | 'mh') => {
    const state = cluster({ pods: { web: pods }, vips: [['192.0.2.10', 80, 'web']], nodes });
    const virtualServices = new Map([...state.virtualServices].map(([id, service]) => [id, { ...service, scheduler }]));
    return { ...state, virtualServices };
  };

  test('has the order at once, and not with the next look at everything', async () => {
    const rig = new Rig('director', undefined, { handoverMilliseconds: 0 });
    await rig.publish(whole(stateOf(['n1', 'n3'], 'wrr')));
    await rig.publish(changed(stateOf(['n1', 'n2', 'n3'], 'wrr'), 'web'));
    assert.deepEqual(await listed(rig.kernel), ['2 x1', '3 x1', '1 x1'], 'the one that came last stands first');
    const looks = rig.loop.status().passes;
    await rig.publish(changed(stateOf(['n1', 'n2', 'n3'], 'mh'), 'web'));
    assert.equal(rig.loop.status().passes, looks + 1);
    assert.deepEqual(await listed(rig.kernel), ['3 x1', '2 x1', '1 x1']);
    await rig.kill();
  });
});
