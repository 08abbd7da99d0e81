/** The fake kernel's failures: what a test arms is what the caller meets, once and at the right place. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DumpInterruptedError, KernelError, TimeoutError, UnsupportedError } from '../../src/native/errors.ts';
import type { IpvsOperation } from '../../src/native/ipvs-types.ts';
import type { NftEvent, NftOperation, TableId } from '../../src/native/nftables-types.ts';
import { FakeKernel } from './kernel.ts';

const service = (port: number): IpvsOperation => ({
  op: 'addService',
  service: { protocol: 'tcp', address: '192.0.2.10', port },
  spec: { scheduler: 'rr' },
});
const table: TableId = { family: 'ip', name: 'ravel' };
const addTable: NftOperation = { op: 'addTable', table };
const codeOf = (error: unknown): string => (error instanceof KernelError ? error.code : String(error));

test('the operation after so many fails, the others do not', async () => {
  const { ipvs, faults } = new FakeKernel();
  faults.failNext({ op: 'ipvs.addService', code: 'ENOMEM', after: 1 });
  const { applied, failed } = await ipvs.apply([service(80), service(81), service(82)]);
  assert.equal(applied, 2);
  assert.deepEqual(
    failed.map(({ index, error }) => [index, error.code, error.index]),
    [[1, 'ENOMEM', 1]],
  );
  assert.deepEqual(
    ipvs.services().map(({ id }) => ('port' in id ? id.port : 0)),
    [80, 82],
  );
  assert.equal(faults.struck, 1);
});

test('a fault for one subject leaves others alone', async () => {
  const { ipvs, faults } = new FakeKernel();
  faults.failNext({ op: 'ipvs.*', code: 'EPERM', subject: ':81', times: Infinity });
  const { failed } = await ipvs.apply([service(80), service(81)]);
  assert.deepEqual(
    failed.map(({ index }) => index),
    [1],
  );
});

test('a refused transaction leaves nothing behind and no generation', async () => {
  const { nftables, faults, journal } = new FakeKernel();
  const before = await nftables.generation();
  faults.failNext({ op: 'nftables.commit', code: 'ENOBUFS' });
  await assert.rejects(nftables.commit([addTable]), (error) => codeOf(error) === 'ENOBUFS');
  assert.deepEqual([await nftables.tables(), await nftables.generation(), journal.writes], [[], before, 0]);
  await nftables.commit([addTable]);
  assert.deepEqual(await nftables.tables(), [table]);
});

test('a dump that keeps changing, an answer that never comes', async () => {
  const { ipvs, nftables, faults } = new FakeKernel();
  faults.failNext({ op: 'ipvs.snapshot', code: 'INTERRUPTED' }, { op: 'nftables.list', code: 'TIMEOUT' });
  await assert.rejects(ipvs.snapshot(), DumpInterruptedError);
  await assert.rejects(nftables.list(table), TimeoutError);
  assert.equal((await ipvs.snapshot()).services.count, 0);
});

test('without capability everything is refused until it heals', async () => {
  const kernel = new FakeKernel();
  kernel.denyEverything();
  for (const call of [
    kernel.ipvs.snapshot(),
    kernel.nftables.commit([addTable]),
    kernel.links.links(),
    kernel.arp.announce('eth0', [], 'both'),
  ]) {
    await assert.rejects(call, (error) => codeOf(error) === 'EPERM');
  }
  kernel.faults.heal();
  assert.equal((await kernel.ipvs.apply([service(80)])).applied, 1);
});

test('a missing module names what brings it', async () => {
  const kernel = new FakeKernel();
  kernel.withoutModule('ipvs');
  await assert.rejects(kernel.ipvs.apply([service(80)]), (error) => error instanceof UnsupportedError && error.hint !== undefined);
  assert.equal((await kernel.links.links()).length, 1);
});

test('an overrun reaches every watcher; events tell whose doing it was', async () => {
  const { nftables } = new FakeKernel();
  const abort = new AbortController();
  const events = nftables.watch({ signal: abort.signal });
  await nftables.commit([addTable]);
  nftables.commitAsOther([{ op: 'deleteTable', table }]);
  nftables.overrun();
  const seen: NftEvent[] = [];
  for await (const event of events) {
    seen.push(event);
    if (event.type === 'overrun') abort.abort();
  }
  assert.deepEqual(
    seen.map((event) => (event.type === 'change' ? [event.message, event.own, event.pid] : [event.type])),
    [['newtable', true, undefined], ['newgen', true, 4242], ['deltable', false, undefined], ['newgen', false, 77], ['overrun']],
  );
});

test('a read-only /proc/sys', async () => {
  const { sysctls } = new FakeKernel();
  sysctls.values.set('net/ipv4/ip_forward', '0');
  sysctls.readOnly = true;
  await assert.rejects(sysctls.write('net/ipv4/ip_forward', '1'), (error) => codeOf(error) === 'EROFS');
  assert.equal(await sysctls.read('net/ipv4/ip_forward'), '0');
  sysctls.readOnly = false;
  await assert.rejects(sysctls.write('net/ipv4/nosuch', '1'), (error) => codeOf(error) === 'ENOENT');
  assert.equal(await sysctls.read('net/ipv4/nosuch'), undefined);
});
