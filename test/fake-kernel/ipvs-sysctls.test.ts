/** Settings of IPVS: written with a way back, warned about where the kernel lacks them, put back when nobody asks any more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipvsDefaults, ipvsRequirements, type IpvsTuning } from '../../src/desired/ipvs-sysctls.ts';
import { SysctlJournal } from '../../src/drivers/journal.ts';
import { SysctlDriver } from '../../src/drivers/sysctls.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { FakeKernel } from './kernel.ts';

const folder = 'net/ipv4/vs';

/** A kernel as it is after a start, where every value is another than ours. */
function kernelWith(...without: string[]): FakeKernel {
  const kernel = new FakeKernel();
  for (const { name, value } of [...ipvsDefaults, { name: 'conntrack', value: '1' }]) {
    if (!without.includes(name)) kernel.sysctls.values.set(`${folder}/${name}`, value === '0' ? '7' : '0');
  }
  return kernel;
}

const tuning = (more: Partial<IpvsTuning> = {}): IpvsTuning => ({ asked: new Map(), defaults: true, conntrack: false, ...more });
const newFolder = (): string => temporaryDirectory('ipvs-sysctls');

async function tune(
  kernel: FakeKernel,
  state: string,
  chosen: IpvsTuning,
): Promise<{ failures: readonly unknown[]; warnings: readonly string[] }> {
  const driver = new SysctlDriver(kernel.sysctls, new SysctlJournal(state, '1', 'boot'));
  const { operations, failures } = await driver.plan(ipvsRequirements(chosen));
  const outcome = await driver.apply(operations);
  return { failures: [...failures, ...outcome.failures], warnings: driver.warnings };
}

test('the table is written, the second time nothing, and cleanup puts every value back', async () => {
  const kernel = kernelWith();
  const state = newFolder();
  const before = new Map(kernel.sysctls.values);
  assert.deepEqual(await tune(kernel, state, tuning()), { failures: [], warnings: [] });
  for (const { name, value } of ipvsDefaults) assert.equal(kernel.sysctls.values.get(`${folder}/${name}`), value, name);
  assert.equal(kernel.sysctls.values.get(`${folder}/conntrack`), before.get(`${folder}/conntrack`), 'nobody needs it');
  const { writes } = kernel;
  await tune(kernel, state, tuning());
  assert.equal(kernel.writes, writes);
  const driver = new SysctlDriver(kernel.sysctls, new SysctlJournal(state, '1', 'boot'));
  assert.deepEqual((await driver.apply(await driver.cleanupOperations())).failures, []);
  assert.deepEqual(kernel.sysctls.values, before);
});

test('without the defaults what they had changed is put back, but for what is needed', async () => {
  const kernel = kernelWith();
  const state = newFolder();
  const before = new Map(kernel.sysctls.values);
  await tune(kernel, state, tuning({ conntrack: true }));
  assert.equal(kernel.sysctls.values.get(`${folder}/conntrack`), '1');
  await tune(kernel, state, tuning({ defaults: false }));
  assert.deepEqual(kernel.sysctls.values, new Map([...before, [`${folder}/expire_nodest_conn`, '1']]));
});

test('what the kernel lacks is a warning that names the nearest, and everything else is written', async () => {
  const kernel = kernelWith('sloppy_sctp');
  const asked = new Map([['expire_nodest_con', '1']]);
  const { failures, warnings } = await tune(kernel, newFolder(), tuning({ asked }));
  assert.deepEqual(failures, []);
  assert.deepEqual(warnings, [
    'net/ipv4/vs/expire_nodest_con: this kernel has no such setting, did you mean "expire_nodest_conn"?',
    'net/ipv4/vs/sloppy_sctp: this kernel has no such setting',
  ]);
  assert.equal(kernel.sysctls.values.get(`${folder}/sloppy_tcp`), '1');
});

test('where there are none at all one sentence says so', async () => {
  const { failures, warnings } = await tune(new FakeKernel(), newFolder(), tuning());
  assert.deepEqual(failures, []);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? '', /^net\/ipv4\/vs has no settings here, so that these are not made: am_droprate, .*sync_version$/);
});

test('colocation cannot do without connection tracking: a kernel that lacks it is a failure', async () => {
  const { failures } = await tune(kernelWith('conntrack'), newFolder(), tuning({ conntrack: true }));
  assert.match(JSON.stringify(failures), /net\/ipv4\/vs\/conntrack does not exist/);
});

test('one of several agents puts back what is its own, and nothing of the others', async () => {
  const kernel = kernelWith();
  const state = newFolder();
  await tune(kernel, state, tuning());
  const driver = new SysctlDriver(kernel.sysctls, new SysctlJournal(state, '1', 'boot'));
  const realservers = await driver.plan([], (key) => !key.startsWith(`${folder}/`));
  assert.deepEqual(realservers.operations, []);
  assert.notEqual((await driver.plan([])).operations.length, 0);
});
