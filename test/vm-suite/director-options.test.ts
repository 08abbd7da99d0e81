/**
 * Every option of a virtual service as the kernel takes it: schedulers, persistence, single packets, tunnels, pods as
 * destinations, IPv6, SCTP, connection limits. ipvsadm says what is there; a second look has nothing to write.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

const program = 'dist/ravel-agent.js';
const folder = mkdtempSync(join(tmpdir(), 'ravel-options-'));
const file = join(folder, 'cluster.json');
const state = join(folder, 'state');
const flags = [
  '--mode=director',
  '--compute-iface=eth0',
  `--source-file=${file}`,
  `--state-dir=${state}`,
  '--handover-delay=0s',
  '--allow-mass-removal',
];

const run = (name: string, ...words: readonly string[]): string => execFileSync(name, words, { encoding: 'utf8' });
const ipvs = (): string[] =>
  run('ipvsadm', '-Sn')
    .split('\n')
    .filter((line) => line !== '')
    .sort();

function command(...words: readonly string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...words], { encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
}

type Entry = Readonly<Record<string, unknown>>;
const web = (ipvsOptions: Entry = {}, rest: Entry = {}): Entry => ({
  ...{ namespace: 'shop', service: 'web', portName: 'http', ipvsOptions },
  ...rest,
});

/** Two nodes of both families; a pod of each family on each. */
function write(config: Entry, config6: Entry = {}): void {
  const pod = (address: string, node: string) => ({ address, port: 8080, portName: 'http', node });
  const cluster = {
    nodes: [
      { name: 'n1', addresses: ['10.20.0.11', '2001:db8:20::11'] },
      { name: 'n2', addresses: ['10.20.0.12', '2001:db8:20::12'] },
    ],
    services: [
      {
        ...{ namespace: 'shop', name: 'web', ports: [{ name: 'http', port: 80, protocol: 'TCP' }] },
        endpoints: [pod('10.244.1.2', 'n1'), pod('10.244.2.2', 'n2'), pod('2001:db8:44::1', 'n1'), pod('2001:db8:44::2', 'n2')],
      },
    ],
    ...{ config, config6 },
  };
  writeFileSync(file, JSON.stringify(cluster));
}

function once(...extra: readonly string[]): string {
  const { code, err } = command('--once', ...flags, ...extra);
  assert.equal(code, 0, err);
  return err;
}

/** Programs what was written; after that nothing is left to do. */
function settle(): string[] {
  once();
  // What leaves is set to weight 0 by the first look, and removed by the second.
  const left = command('plan', ...flags);
  if (left.code !== 0) {
    once();
    const plan = command('plan', ...flags);
    assert.equal(plan.code, 0, `something is left to do: ${plan.out}${plan.err}`);
  }
  return ipvs();
}

const vip = '10.20.0.100';
const vip6 = '2001:db8::100';
const of = (table: readonly string[], port: number, protocol = '-t', address = vip): string[] => {
  const socket = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  return table.filter((line) => line.includes(` ${protocol} ${socket} `)).map((line) => line.replace(` ${protocol} ${socket}`, ''));
};

before(() => {
  run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'segment');
  for (const name of ['lo', 'eth0', 'segment']) run('ip', 'link', 'set', name, 'up');
  run('ip', 'addr', 'add', '10.20.0.10/24', 'dev', 'eth0');
  run('ip', 'addr', 'add', '2001:db8:20::10/64', 'dev', 'eth0', 'nodad');
});

after(() => {
  command('cleanup', `--state-dir=${state}`);
  assert.deepEqual(ipvs(), []);
  rmSync(folder, { recursive: true });
});

const schedulers = ['rr', 'wrr', 'lc', 'wlc', 'dh', 'sh', 'mh', 'lblc', 'lblcr', 'sed', 'nq', 'fo', 'ovf'];

test('each scheduler by its name, with its flags, written once', () => {
  const entries = schedulers.map((scheduler, index) => [String(8000 + index), web({ scheduler })] as const);
  write({
    [vip]: {
      ...Object.fromEntries(entries),
      '9000': web({ scheduler: 'sh', flags: 'flag-1' }),
      '9001': web({ scheduler: 'mh', flags: 'flag-2' }),
    },
  });
  const table = settle();
  const head = (port: number): string | undefined => of(table, port).find((line) => line.startsWith('-A'));
  for (const [index, scheduler] of schedulers.entries()) {
    assert.equal(head(8000 + index), `-A -s ${scheduler}${scheduler === 'mh' ? ' -b mh-fallback,mh-port' : ''}`);
  }
  assert.deepEqual([head(9000), head(9001)], ['-A -s sh -b sh-fallback', '-A -s mh -b mh-port']);
  assert.doesNotMatch(once(), /"programmed"/, 'nothing is written again');
  assert.deepEqual(ipvs(), table);
});

test('a scheduler that this kernel lacks is named, and keeps no other from its place', () => {
  const known = run('sh', '-c', 'modprobe -q ip_vs_twos && echo yes || echo no').trim() === 'yes';
  write({ [vip]: { '80': web({ scheduler: 'twos' }), '81': web({ scheduler: 'wrr' }) } });
  const looked = command('--once', ...flags);
  assert.equal(looked.code === 0, known, looked.err);
  if (!known) assert.match(looked.err, /addService tcp 10\.20\.0\.100:80: ENOENT/);
  assert.equal(of(ipvs(), 81).length, 3);
});

test('a scheduler, persistence and datagrams one by one are changed in place', () => {
  write({ [vip]: { '80': web({ scheduler: 'rr' }), '53': web({}, { tcpEnabled: false, udpEnabled: true }) } });
  settle();
  write({
    [vip]: {
      '80': web({ scheduler: 'wlc', persistenceSeconds: 300, persistencePrefix: 24 }),
      '53': web({ onePacket: true }, { tcpEnabled: false, udpEnabled: true }),
    },
  });
  const changed = settle();
  assert.deepEqual(of(changed, 80), ['-A -s wlc -p 300 -M 255.255.255.0', '-a -r 10.20.0.11:80 -g -w 1', '-a -r 10.20.0.12:80 -g -w 1']);
  assert.equal(of(changed, 53, '-u')[0], '-A -s wrr -o');
  write({ [vip]: { '80': web(), '53': web({}, { tcpEnabled: false, udpEnabled: true }) } });
  const back = settle();
  assert.deepEqual([of(back, 80)[0], of(back, 53, '-u')[0]], ['-A -s wrr', '-A -s wrr']);
});

test('tunnels of each kind, and from one to the other', () => {
  const kinds = { '80': {}, '81': { tunnelType: 'gue', tunnelPort: 6080 }, '82': { tunnelType: 'gre' } };
  const entries = Object.entries(kinds).map(([port, more]) => [port, web({ forwardingMethod: 'i', ...more })] as const);
  write({ [vip]: Object.fromEntries(entries) });
  const table = settle();
  assert.deepEqual(
    [80, 81, 82].map((port) => of(table, port).slice(1)),
    [
      ['-a -r 10.20.0.11:80 -i -w 1 --tun-type ipip', '-a -r 10.20.0.12:80 -i -w 1 --tun-type ipip'],
      [
        '-a -r 10.20.0.11:81 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum',
        '-a -r 10.20.0.12:81 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum',
      ],
      ['-a -r 10.20.0.11:82 -i -w 1 --tun-type gre --tun-nocsum', '-a -r 10.20.0.12:82 -i -w 1 --tun-type gre --tun-nocsum'],
    ],
  );
  write({ [vip]: { '80': web({ forwardingMethod: 'i', tunnelType: 'gre' }), '81': web({ forwardingMethod: 'i' }), '82': web() } });
  const moved = settle();
  assert.deepEqual(
    [80, 81, 82].map((port) => of(moved, port)[1]),
    [
      '-a -r 10.20.0.11:80 -i -w 1 --tun-type gre --tun-nocsum',
      '-a -r 10.20.0.11:81 -i -w 1 --tun-type ipip',
      '-a -r 10.20.0.11:82 -g -w 1',
    ],
  );
});

test('pods as destinations, and their clients masqueraded by a rule of ours', () => {
  write({ [vip]: { '80': web({ forwardingMethod: 'm' }) } }, { [vip6]: { '80': web({ forwardingMethod: 'm' }) } });
  const table = settle();
  assert.deepEqual(of(table, 80), ['-A -s wrr', '-a -r 10.244.1.2:8080 -m -w 1', '-a -r 10.244.2.2:8080 -m -w 1']);
  assert.deepEqual(of(table, 80, '-t', vip6), ['-A -s wrr', '-a -r [2001:db8:44::1]:8080 -m -w 1', '-a -r [2001:db8:44::2]:8080 -m -w 1']);
  const rules = run('nft', 'list', 'ruleset');
  for (const address of [vip, vip6]) assert.match(rules, new RegExp(`${address.replaceAll('.', '\\.')} \\. tcp \\. 80`));
  assert.equal(run('cat', '/proc/sys/net/ipv4/vs/conntrack').trim(), '1');
  write({ [vip]: { '80': web() } });
  settle();
  assert.doesNotMatch(run('nft', 'list', 'ruleset'), /ravel/, 'rules that nobody needs go');
  assert.equal(run('cat', '/proc/sys/net/ipv4/vs/conntrack').trim(), '0');
});

test('IPv6: nodes by their address of the family, directly and through a tunnel', () => {
  write(
    {},
    { [vip6]: { '80': web(), '81': web({ forwardingMethod: 'i' }), '82': web({ persistenceSeconds: 60, persistencePrefix: 64 }) } },
  );
  const table = settle();
  assert.deepEqual(of(table, 80, '-t', vip6), ['-A -s wrr', '-a -r [2001:db8:20::11]:80 -g -w 1', '-a -r [2001:db8:20::12]:80 -g -w 1']);
  assert.equal(of(table, 81, '-t', vip6)[1], '-a -r [2001:db8:20::11]:81 -i -w 1 --tun-type ipip');
  assert.equal(of(table, 82, '-t', vip6)[0], '-A -s wrr -p 60 -M 64');
  assert.match(run('ip', '-o', '-6', 'addr', 'show', 'ravel0'), /2001:db8::100\/128/);
});

test('TCP, UDP and SCTP on one port', () => {
  write({ [vip]: { '80': web({}, { udpEnabled: true, sctpEnabled: true }) } });
  const table = settle();
  for (const protocol of ['-t', '-u', '--sctp-service']) {
    assert.deepEqual(of(table, 80, protocol), ['-A -s wrr', '-a -r 10.20.0.11:80 -g -w 1', '-a -r 10.20.0.12:80 -g -w 1'], protocol);
  }
});

test('C03: connection limits are shared, and the same a second time is no write', () => {
  write({ [vip]: { '80': web({ uThreshold: 8000, lThreshold: 4000 }) } });
  settle();
  const limits = run('ipvsadm', '-Ln', '--thresholds');
  for (const node of ['10.20.0.11', '10.20.0.12']) assert.match(limits, new RegExp(`${node}:80 +4000 +2000 `));
  assert.doesNotMatch(once(), /"programmed"/, 'nothing is written again');
  once('--ipvs-threshold-divisor=nodes');
  assert.match(run('ipvsadm', '-Ln', '--thresholds'), /10\.20\.0\.11:80 +4000 +2000 /);
});
