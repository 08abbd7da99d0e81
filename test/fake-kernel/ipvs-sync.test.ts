/** Connection synchronization daemons: started, adopted, left alone, stopped; with every failure in between. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import { IpvsSyncDriver, describeSync, type SyncRequirement } from '../../src/drivers/ipvs-sync.ts';
import { SysctlJournal } from '../../src/drivers/journal.ts';
import { FakeKernel } from './kernel.ts';

const asked: SyncRequirement = { interface: 'eth0', syncId: 82 };

async function bench(t: TestContext) {
  const kernel = new FakeKernel();
  const folder = mkdtempSync(join(tmpdir(), 'ravel-sync-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  await kernel.links.apply([
    { op: 'addDummy', name: 'eth0' },
    { op: 'addDummy', name: 'eth1' },
  ]);
  kernel.journal.clear();
  /** A process that knows only what the journal says. */
  const fresh = () => {
    const journal = new SysctlJournal(folder, '1', 'boot');
    return { journal, driver: new IpvsSyncDriver(kernel.ipvs, journal) };
  };
  const running = async () => (await kernel.ipvs.syncDaemons()).map((one) => `${one.role} ${one.interface} ${one.syncId}`).sort();
  return { kernel, fresh, running, ...fresh() };
}

async function pass(driver: IpvsSyncDriver, wanted: SyncRequirement | undefined) {
  const plan = await driver.plan(wanted);
  const outcome = await driver.apply(plan.operations);
  const failures = [...plan.failures, ...outcome.failures];
  return { written: outcome.written, failures, texts: plan.operations.map((operation) => describeSync(operation).text) };
}

suite('connection synchronization daemons', () => {
  test('both roles are started, and adopted by the next process without a write', async (t) => {
    const { kernel, driver, fresh, running } = await bench(t);
    const first = await pass(driver, asked);
    assert.deepEqual([first.written, first.failures], [2, []]);
    assert.deepEqual(first.texts, [
      'connection synchronization, master of sync id 82 on eth0: start',
      'connection synchronization, backup of sync id 82 on eth0: start',
    ]);
    assert.deepEqual(await running(), ['backup eth0 82', 'master eth0 82']);
    kernel.journal.clear();
    assert.deepEqual(await pass(fresh().driver, asked), { written: 0, failures: [], texts: [] });
    assert.equal(kernel.writes, 0);
    assert.deepEqual(driver.running, []);
  });

  test('not asked for and nothing on record: the kernel is not even read', async (t) => {
    const { kernel, driver } = await bench(t);
    kernel.withoutModule('ipvs');
    assert.deepEqual(await pass(driver, undefined), { written: 0, failures: [], texts: [] });
    assert.equal(kernel.journal.reads, 0);
  });

  test('no longer asked for: ours stop, after a restart too; a foreign one stays', async (t) => {
    const { kernel, driver, fresh, running } = await bench(t);
    await pass(driver, asked);
    await kernel.ipvs.stopSyncDaemon('backup');
    await kernel.ipvs.startSyncDaemon({ role: 'backup', interface: 'eth1', syncId: 3 });
    const next = fresh();
    assert.deepEqual((await pass(next.driver, undefined)).failures, []);
    assert.deepEqual(await running(), ['backup eth1 3']);
    assert.deepEqual(await next.journal.loadSync(), []);
    kernel.journal.clear();
    assert.equal((await pass(next.driver, undefined)).written, 0);
    assert.equal(kernel.journal.reads, 0);
  });

  test('one of somebody else keeps its role, and is named', async (t) => {
    const { kernel, driver, running } = await bench(t);
    await kernel.ipvs.startSyncDaemon({ role: 'master', interface: 'eth1', syncId: 3 });
    const { written, failures } = await pass(driver, asked);
    assert.equal(written, 1);
    assert.deepEqual(
      failures.map(({ op, code }) => [op, code]),
      [['ipvs.startSyncDaemon', 'EEXIST']],
    );
    assert.match(failures[0]?.message ?? '', /master of sync id 3 on eth1 runs that is not ours/);
    assert.deepEqual(await running(), ['backup eth0 82', 'master eth1 3']);
    // Not ours on the way down, either.
    await driver.apply(await driver.cleanupOperations());
    assert.deepEqual(await running(), ['master eth1 3']);
  });

  test('of our number and as asked for: adopted though somebody else started it', async (t) => {
    const { kernel, driver } = await bench(t);
    for (const role of ['master', 'backup'] as const) await kernel.ipvs.startSyncDaemon({ role, ...asked, ttl: 3 });
    kernel.journal.clear();
    assert.equal((await pass(driver, asked)).written, 0);
    assert.equal(kernel.writes, 0);
  });

  test('another interface or number: stopped, then started', async (t) => {
    const { driver, fresh, running } = await bench(t);
    await pass(driver, asked);
    assert.equal((await pass(driver, { ...asked, interface: 'eth1' })).written, 4);
    assert.deepEqual(await running(), ['backup eth1 82', 'master eth1 82']);
    // The record says that those of the old number are ours.
    assert.equal((await pass(fresh().driver, { interface: 'eth1', syncId: 9 })).written, 4);
    assert.deepEqual(await running(), ['backup eth1 9', 'master eth1 9']);
  });

  test('an interface that is not there is told, and tried again', async (t) => {
    const { kernel, driver, journal, running } = await bench(t);
    const { failures } = await pass(driver, { ...asked, interface: 'eth7' });
    assert.deepEqual(
      failures.map(({ code }) => code),
      ['ENODEV', 'ENODEV'],
    );
    assert.deepEqual(await journal.loadSync(), []);
    await kernel.links.apply([{ op: 'addDummy', name: 'eth7' }]);
    assert.deepEqual((await pass(driver, { ...asked, interface: 'eth7' })).failures, []);
    assert.deepEqual(await running(), ['backup eth7 82', 'master eth7 82']);
  });

  test('a start that the kernel refuses leaves no claim, a stop that it refuses leaves one', async (t) => {
    const { kernel, driver, journal } = await bench(t);
    kernel.faults.failNext({ op: 'ipvs.startSyncDaemon', subject: 'backup', code: 'ENOMEM' });
    assert.equal((await pass(driver, asked)).failures[0]?.code, 'ENOMEM');
    assert.deepEqual(await journal.loadSync(), [{ role: 'master', interface: 'eth0', syncId: 82 }]);
    kernel.faults.failNext({ op: 'ipvs.stopSyncDaemon', code: 'EPERM' });
    assert.equal((await pass(driver, undefined)).failures[0]?.code, 'EPERM');
    assert.equal((await journal.loadSync()).length, 1);
    assert.deepEqual((await pass(driver, undefined)).failures, []);
    assert.deepEqual(await journal.loadSync(), []);
  });

  test('one that went by itself between look and stop is no failure', async (t) => {
    const { kernel, driver } = await bench(t);
    await pass(driver, asked);
    const { operations } = await driver.plan(undefined);
    await kernel.ipvs.stopSyncDaemon('master');
    assert.deepEqual((await driver.apply(operations)).failures, []);
  });

  test('a damaged record: nothing is written, and that is told where something is asked for', async (t) => {
    const { kernel, driver, journal } = await bench(t);
    writeFileSync(journal.path, '{"boot":"boot"');
    const { failures } = await pass(driver, asked);
    assert.match(failures[0]?.message ?? '', /is damaged/);
    assert.equal(kernel.writes, 0);
    assert.deepEqual((await pass(driver, undefined)).failures, []);
  });
});
