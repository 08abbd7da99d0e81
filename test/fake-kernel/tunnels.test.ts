import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { suite, test } from 'node:test';
import { tunnelInterfaces, tunnelRequirements, type TunnelRequirements } from '../../src/diff/tunnels.ts';
import { SysctlJournal } from '../../src/drivers/journal.ts';
import { describeTunnel, TunnelDriver } from '../../src/drivers/tunnels.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { FakeKernel } from './kernel.ts';

const none: TunnelRequirements = { devices: [], guePorts: [] };
const ipip: TunnelRequirements = { devices: ['ipip'], guePorts: [] };
const gue: TunnelRequirements = { devices: ['ipip'], guePorts: [{ port: 6080, family: 'ipv4' }] };

function bench() {
  const kernel = new FakeKernel();
  const folder = temporaryDirectory('tunnels');
  const open = (boot = 'boot') => {
    const journal = new SysctlJournal(folder, '1', boot);
    return { journal, driver: new TunnelDriver(kernel.links, kernel.fou, journal) };
  };
  const link = async (name: string) => (await kernel.links.links()).find((found) => found.name === name);
  return { kernel, open, link, ...open() };
}

async function pass(driver: TunnelDriver, requirements: TunnelRequirements) {
  const plan = await driver.plan(requirements);
  const outcome = await driver.apply(plan.operations);
  return {
    ...outcome,
    failures: [...plan.failures, ...outcome.failures],
    texts: plan.operations.map((operation) => describeTunnel(operation).text),
  };
}

suite('what virtual services need', () => {
  test('IP in IP by family; GUE its port as well; GRE its own devices; others nothing', () => {
    const found = tunnelRequirements([
      { address: '192.0.2.1', forward: 'direct' },
      { address: '192.0.2.2', forward: 'masquerade' },
      { address: '2001:db8::2', forward: 'tunnel' },
      { address: '192.0.2.3', forward: 'tunnel', tunnel: { type: 'gue', port: 6080 } },
      { address: '192.0.2.4', forward: 'tunnel', tunnel: { type: 'gue', port: 6080 } },
      { address: '192.0.2.5', forward: 'tunnel', tunnel: { type: 'gre' } },
      { address: '2001:db8::5', forward: 'tunnel', tunnel: { type: 'gre' } },
    ]);
    assert.deepEqual(found, { devices: ['gre', 'ip6gre', 'ip6tnl', 'ipip'], guePorts: [{ port: 6080, family: 'ipv4' }] });
    assert.deepEqual(tunnelInterfaces(found), ['gre0', 'tunl0']);
    assert.deepEqual(tunnelRequirements([{ address: '192.0.2.1', forward: 'direct' }]), none);
  });
});

suite('tunnel devices and ports', () => {
  test('nothing asked for, nothing read and nothing written', async () => {
    const { kernel, driver } = bench();
    kernel.withoutModule('fou');
    assert.deepEqual((await pass(driver, none)).failures, []);
    assert.equal(kernel.journal.reads + kernel.writes, 0);
  });

  test('the device that loading the module makes comes up, once', async () => {
    const { kernel, driver, link } = bench();
    const first = await pass(driver, ipip);
    assert.deepEqual([first.failures, first.texts], [[], ['tunl0: add', 'tunl0: set up']]);
    assert.equal((await link('tunl0'))?.up, true);
    kernel.journal.clear();
    assert.equal((await pass(driver, ipip)).written, 0);
    assert.equal(kernel.writes, 0);
  });

  test('cleanup puts a device down that it raised, and leaves one that was up', async () => {
    const { kernel, driver, link, journal } = bench();
    kernel.links.addLink({ name: 'tunl0', kind: 'ipip', mac: '', mtu: 1480, up: false, running: false, noArp: true });
    kernel.links.addLink({ name: 'gre0', kind: 'gre', mac: '', mtu: 1476, up: true, running: true, noArp: true });
    await pass(driver, { devices: ['ipip', 'gre'], guePorts: [] });
    assert.equal((await link('tunl0'))?.up, true);
    const { failures } = await driver.apply(await driver.cleanupOperations());
    assert.deepEqual(failures, []);
    assert.deepEqual([(await link('tunl0'))?.up, (await link('gre0'))?.up], [false, true]);
    assert.equal(existsSync(journal.path), false, 'nothing is left to put back');
  });

  test('what is no longer needed goes back at the next pass, also after a restart', async () => {
    const { kernel, driver, link, open } = bench();
    await pass(driver, gue);
    assert.deepEqual(await kernel.fou.list(), [{ port: 6080, family: 'ipv4', encapsulation: 'gue', protocol: 0 }]);
    const restarted = open().driver;
    assert.deepEqual((await pass(restarted, none)).texts, [
      'tunl0: set down',
      'tunl0: delete',
      'UDP port 6080 (ipv4): take no more GUE packets',
    ]);
    assert.deepEqual(await kernel.fou.list(), []);
    assert.equal((await link('tunl0'))?.up, false);
    assert.deepEqual((await pass(restarted, none)).texts, []);
  });

  test('after a reboot the record of before means nothing', async () => {
    const { kernel, driver, link, open } = bench();
    await pass(driver, ipip);
    assert.equal((await pass(open('another boot').driver, none)).written, 0);
    assert.equal((await link('tunl0'))?.up, true);
    assert.ok(kernel.writes > 0);
  });

  test('a port of somebody else is neither taken nor removed', async () => {
    const { kernel, driver } = bench();
    await kernel.fou.add({ port: 6081, family: 'ipv4', encapsulation: 'gue', protocol: 0 });
    await kernel.fou.add({ port: 6080, family: 'ipv4', encapsulation: 'fou', protocol: 4 });
    const { failures } = await pass(driver, gue);
    assert.deepEqual(
      failures.map(({ message }) => message),
      ['UDP port 6080 (ipv4) unwraps protocol 4, not GUE'],
    );
    await driver.apply(await driver.cleanupOperations());
    assert.deepEqual(
      (await kernel.fou.list()).map(({ port }) => port),
      [6081, 6080],
    );
  });

  test('one that was taken into use before us stays ours to use and not to remove', async () => {
    const { kernel, driver } = bench();
    await kernel.fou.add({ port: 6080, family: 'ipv4', encapsulation: 'gue', protocol: 0 });
    assert.deepEqual((await pass(driver, gue)).failures, []);
    await driver.apply(await driver.cleanupOperations());
    assert.equal((await kernel.fou.list()).length, 1);
  });

  test('a device of the name and another kind is named and left alone', async () => {
    const { kernel, driver, link } = bench();
    kernel.links.addLink({ name: 'tunl0', kind: 'dummy', mac: '', mtu: 1500, up: false, running: false, noArp: true });
    const { failures, written } = await pass(driver, ipip);
    assert.deepEqual([failures.map(({ message }) => message), written], [['tunl0 is a dummy device, not ipip'], 0]);
    assert.equal((await link('tunl0'))?.up, false);
  });

  test('without fou in the kernel the failure says so, devices work all the same, and the port is tried again', async () => {
    const { kernel, driver, link } = bench();
    kernel.withoutModule('fou');
    assert.match((await pass(driver, gue)).failures[0]?.message ?? '', /not supported/);
    assert.equal((await link('tunl0'))?.up, true);
    kernel.faults.heal();
    assert.deepEqual((await pass(driver, gue)).failures, []);
    assert.equal((await kernel.fou.list()).length, 1);
  });

  test('a port that a socket holds fails by its name, and cleanup does not touch it', async () => {
    const { kernel, driver } = bench();
    kernel.fou.taken.add('ipv4 6080');
    assert.deepEqual(
      (await pass(driver, gue)).failures.map(({ code }) => code),
      ['EADDRINUSE'],
    );
    assert.deepEqual(
      (await driver.cleanupOperations()).map(({ op }) => op),
      ['setLink', 'deleteLink'],
    );
  });

  test('somebody who sets the device down takes it over: it is not set down again later', async () => {
    const { kernel, driver, link } = bench();
    await pass(driver, ipip);
    kernel.links.changeLink('tunl0', { up: false });
    // The device cannot be deleted, so that an absent one is put back only by trying.
    await pass(driver, none);
    kernel.links.changeLink('tunl0', { up: true });
    await pass(driver, none);
    assert.equal((await link('tunl0'))?.up, true);
  });

  test('a journal that cannot be read or written means that nothing is changed', async () => {
    const { kernel, journal, driver } = bench();
    writeFileSync(journal.path, '{');
    const damaged = await pass(driver, ipip);
    assert.deepEqual([damaged.failures.map(({ op }) => op), damaged.written, kernel.writes], [['tunnels.journal'], 0, 0]);
    await rm(journal.path);
    // A folder is where the new file is to be written.
    await mkdir(`${journal.path}.new`);
    const unwritable = await pass(driver, ipip);
    assert.deepEqual([unwritable.failures.map(({ op, code }) => [op, code]), kernel.writes], [[['tunnels.journal', 'EISDIR']], 0]);
  });
});

test('the journal keeps settings and tunnels apart, and reads files of earlier versions', async () => {
  const { journal } = bench();
  await Promise.all([
    journal.save(new Map([['net/ipv4/vs/conntrack', { before: '0', after: '1' }]])),
    journal.saveTunnels([{ link: 'tunl0', was: 'down' }]),
  ]);
  assert.deepEqual([...(await journal.load()).keys()], ['net/ipv4/vs/conntrack']);
  assert.deepEqual(await journal.loadTunnels(), [{ link: 'tunl0', was: 'down' }]);
  await journal.saveTunnels([]);
  assert.deepEqual(JSON.parse(readFileSync(journal.path, 'utf8')), {
    boot: 'boot',
    entries: { 'net/ipv4/vs/conntrack': { before: '0', after: '1' } },
  });
  assert.deepEqual(await journal.loadTunnels(), []);
  await journal.save(new Map());
  assert.equal(existsSync(journal.path), false);
});
