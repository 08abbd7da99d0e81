/**
 * What a director with pods of its own has in the kernel, held against the texts beside this file: a part of the
 * connections goes to pods here, and of TCP only segments that open one are looked at.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { DesiredNat, DesiredNatService } from '../../src/desired/types.ts';
import { natKey } from '../../src/diff/nat-state.ts';
import { ProcLegacyTables } from '../../src/drivers/legacy-tables.ts';
import { IptablesNat } from '../../src/drivers/nat-iptables.ts';
import { NatDriver } from '../../src/drivers/nat.ts';
import { Iptables } from '../../src/native/iptables.ts';
import { Netns } from '../../src/native/netns.ts';
import { Nftables } from '../../src/native/nftables.ts';
import { unsupported } from './iptables-available.ts';
import { inside, nft, nftScript, TCP, UDP } from './nftables-support.ts';

const VIPS = ['192.0.2.10', '2001:db8::10'] as const;

function service(address: string, protocol: number, rest: Partial<DesiredNatService> = {}): DesiredNatService {
  const id = { address, protocol, port: 80 };
  const pods = (address.includes(':') ? ['fd00:1::2', 'fd00:1::3'] : ['10.1.1.2', '10.1.1.3']).map((pod) => ({ address: pod, port: 8080 }));
  return { ...id, key: natKey(id), comment: 'shop/api:http', pods, ...rest };
}

/** Of four pods two are here; those of the second port all are. */
const wanted: DesiredNat = {
  services: new Map(
    VIPS.flatMap((vip) => [
      service(vip, TCP, { slots: 4 }),
      service(vip, UDP, { slots: 4 }),
      service(vip, TCP, { port: 443, key: natKey({ address: vip, protocol: TCP, port: 443 }) }),
    ]).map((each) => [each.key, each]),
  ),
  addresses: VIPS,
  masquerade: { enabled: true },
  outside: ['eth0'],
  openingOnly: true,
};

const withoutCounts = (text: string): string =>
  text
    .replaceAll(/counter packets \d+ bytes \d+/g, 'counter packets 0 bytes 0')
    .replaceAll(/\[\d+:\d+\]/g, '[0:0]')
    .replaceAll(/^#.*\n/gm, '');

/** RAVEL_WRITE_GOLDENS=1 writes it. */
function golden(name: string, text: string): void {
  const file = `test/netns/golden/${name}.txt`;
  if (process.env['RAVEL_WRITE_GOLDENS'] === '1') writeFileSync(file, text);
  assert.equal(text, readFileSync(file, 'utf8'), `${file}; RAVEL_WRITE_GOLDENS=1 writes it`);
}

test('nftables: the rules are those that nft prints, and reads again', async () => {
  await using node = await Netns.create();
  await using again = await Netns.create();
  const nftables = await Nftables.open({ netns: node });
  try {
    const driver = new NatDriver(nftables);
    assert.deepEqual((await driver.apply(await driver.plan(wanted))).failures, []);
    const listed = withoutCounts(nft(node, 'list', 'ruleset'));
    golden('director-nftables', listed);
    assert.equal(nftScript(again, listed), '');
    assert.equal(withoutCounts(nft(again, 'list', 'ruleset')), listed);
    // Whoever comes later reads them for what they are, and those of an earlier version for something else.
    assert.equal((await new NatDriver(nftables).plan(wanted)).empty, true);
    assert.equal((await new NatDriver(nftables).plan({ ...wanted, openingOnly: false })).empty, false);
  } finally {
    await nftables.close();
  }
});

test('iptables: the rules are those that iptables-save prints, and iptables-restore reads', { skip: unsupported }, async () => {
  await using node = await Netns.create();
  await using again = await Netns.create();
  // Its /proc shows which tables the namespace has.
  const keeper = spawn('nsenter', [`--net=${node.path}`, 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  keeper.stdin.write('inside\n');
  await once(keeper.stdout, 'data');
  const tables = new ProcLegacyTables(`/proc/${keeper.pid}/net`, (options) => Iptables.open({ ...options, netns: node }));
  const backend = (): IptablesNat => new IptablesNat({ tables, chainPrefix: 'RAVEL' });
  try {
    const nat = backend();
    assert.deepEqual((await nat.apply(await nat.plan(wanted))).failures, []);
    const saved = ['iptables', 'ip6tables'].map((tool) => inside(node, [`${tool}-legacy-save`, '-t', 'nat']));
    golden('director-iptables', withoutCounts(saved.join('\n')));
    inside(again, ['sh', '-c', `iptables-legacy-restore <<'END'\n${saved[0]}\nEND`]);
    assert.equal(withoutCounts(inside(again, ['iptables-legacy-save', '-t', 'nat'])), withoutCounts(saved[0]!));
    assert.equal((await backend().plan(wanted)).empty, true);
    assert.equal((await backend().plan({ ...wanted, openingOnly: false })).empty, false);
  } finally {
    await tables.close();
    keeper.stdin.end();
    await once(keeper, 'close');
  }
});
