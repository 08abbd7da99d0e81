/**
 * The agent as a process of its own on the running kernel, as realserver: this kernel may have no dummy
 * devices, so the VIPs are on a bridge that is lent to it. The runner gives this file namespaces of its own.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { AgentDocument } from '../../src/observe/agent-document.ts';
import { askAgent } from '../../src/observe/status-server.ts';
import { Nftables } from '../../src/native/index.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { until } from './tools.ts';

const program = existsSync('dist/ravel-agent.js') ? 'dist/ravel-agent.js' : 'src/cli/main.ts';
const folder = temporaryDirectory('netns');
const file = join(folder, 'cluster.yaml');
const state = join(folder, 'state');
const socket = join(state, 'realserver.sock');
const flags = [
  '--mode=realserver',
  '--compute-iface=eth0',
  '--vip-interface=vip0',
  '--nodename=n1',
  `--source-file=${file}`,
  `--state-dir=${state}`,
];

const ip = (...words: readonly string[]): string => execFileSync('ip', words, { encoding: 'utf8' });
const nft = (...words: readonly string[]): string => execFileSync('nft', words, { encoding: 'utf8' });
const sysctl = (key: string): string => readFileSync(join('/proc/sys', key), 'utf8').trim();

function clusterText(pods: readonly string[], vip = '10.20.0.100'): string {
  return JSON.stringify({
    nodes: [{ name: 'n1', addresses: ['10.20.0.11'] }],
    services: [
      {
        ...{ namespace: 'shop', name: 'web', ports: [{ name: 'http', port: 80, protocol: 'TCP' }] },
        endpoints: pods.map((address) => ({ address, port: 8080, portName: 'http', node: 'n1' })),
      },
    ],
    config: { [vip]: { '80': { namespace: 'shop', service: 'web', portName: 'http' } } },
  });
}

/** As editors and kubelets do it: a new file takes the name. */
function write(text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

function command(...words: readonly string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...words], { encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
}

/** What `nft` and `ip` show of everything the agent may touch. */
function picture(): Record<string, string> {
  return {
    rules: nft('-j', 'list', 'ruleset').replaceAll(/"handle": \d+/g, '"handle": 0'),
    addresses: ip('-o', 'addr', 'show'),
    links: ip('-o', 'link', 'show'),
    arpIgnore: sysctl('net/ipv4/conf/eth0/arp_ignore'),
    arpAnnounce: sysctl('net/ipv4/conf/eth0/arp_announce'),
    rpFilter: sysctl('net/ipv4/conf/eth0/rp_filter'),
  };
}

const endpoints = (): string[] =>
  [...nft('list', 'map', 'ip', 'ravel', 'endpoints').matchAll(/: (10\.244\.\S+) \. 8080/g)].map(([, pod]) => pod ?? '');
const placed = (): boolean => ip('-o', 'addr', 'show', 'dev', 'vip0').includes('10.20.0.100/32');
const answer = async (): Promise<AgentDocument | undefined> => (await askAgent(socket)) as AgentDocument | undefined;

class RunningAgent {
  readonly process: ChildProcess;
  log = '';

  constructor(wrapper: readonly string[] = [], extra: readonly string[] = []) {
    const [name = process.execPath, ...words] = [...wrapper, process.execPath, program, ...flags, ...extra];
    this.process = spawn(name, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => (this.log += text));
  }

  async ready(passes = 1): Promise<this> {
    await until(`the agent's first pass; it said ${this.log}`, async () => ((await answer())?.loop.passes ?? 0) >= passes);
    return this;
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.process.exitCode !== null) return this.process.exitCode;
    const ended = new Promise<number | null>((resolve) => this.process.once('exit', (code) => resolve(code)));
    this.process.kill(signal);
    return ended;
  }
}

let nftables: Nftables;

before(async () => {
  ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'segment');
  ip('link', 'add', 'vip0', 'type', 'bridge');
  for (const name of ['eth0', 'segment', 'vip0']) ip('link', 'set', name, 'up');
  ip('addr', 'add', '10.20.0.11/24', 'dev', 'eth0');
  ip('addr', 'add', '192.0.2.77/32', 'dev', 'vip0');
  nft('add', 'table', 'ip', 'kube-proxy');
  nft('add', 'chain', 'ip', 'kube-proxy', 'services');
  write(clusterText(['10.244.1.2', '10.244.1.3']));
  nftables = await Nftables.open();
  // Let IPv6 settle: an address that leaves "tentative" would look like a difference.
  await until('link-local addresses', () => !ip('-o', 'addr', 'show').includes('tentative'));
});

after(async () => {
  await nftables.close();
});

test('plan, --once, plan, --once again, cleanup: 2, done, 0, nothing written, as before byte by byte', async () => {
  const untouched = picture();
  assert.equal(command('plan', ...flags).code, 2);
  assert.deepEqual(picture(), untouched);
  const once = command('--once', ...flags);
  assert.equal(once.code, 0, once.err);
  assert.deepEqual(endpoints(), ['10.244.1.2', '10.244.1.3']);
  assert.match(
    nft('list', 'map', 'ip', 'ravel', 'services'),
    /10\.20\.0\.100 \. tcp \. 80 counter .* comment "shop\/web:http" : goto pods-tcp-2/,
  );
  assert.ok(placed());
  assert.match(ip('-d', '-o', 'addr', 'show', 'dev', 'vip0'), /10\.20\.0\.100\/32 scope global noprefixroute/);
  assert.equal(sysctl('net/ipv4/conf/eth0/arp_ignore'), '1');
  assert.equal(sysctl('net/ipv4/conf/eth0/arp_announce'), '2');
  const plan = command('plan', ...flags);
  assert.equal(plan.code, 0, plan.out + plan.err);
  const [generation, programmed] = [await nftables.generation(), picture()];
  assert.equal(command('realserver', '--once', ...flags.slice(1)).code, 0);
  assert.equal(await nftables.generation(), generation, 'no transaction');
  assert.deepEqual(picture(), programmed);
  const cleaned = command('cleanup', '--vip-interface=vip0', `--state-dir=${state}`);
  assert.equal(cleaned.code, 0, cleaned.err);
  assert.deepEqual(picture(), untouched, 'the address of others on vip0 and the table kube-proxy, too');
});

test('a running agent follows the file, refuses a bad one, outlives a vanished one', async () => {
  write(clusterText(['10.244.1.2']));
  const agent = await new RunningAgent().ready();
  try {
    assert.deepEqual(endpoints(), ['10.244.1.2']);
    write(clusterText(['10.244.1.2', '10.244.1.9']));
    await until('the added pod', () => endpoints().includes('10.244.1.9'));
    write('config: { nonsense: {} }\n');
    await until('the refusal', async () => (await answer())?.source.refused !== null);
    assert.deepEqual(endpoints(), ['10.244.1.2', '10.244.1.9']);
    rmSync(file);
    await until('the missing file', async () => (await answer())?.source.refused?.problems.some(({ path }) => path === '') === true);
    assert.deepEqual(endpoints(), ['10.244.1.2', '10.244.1.9']);
    write(clusterText(['10.244.1.5']));
    await until('the new file', () => endpoints().join() === '10.244.1.5');
    await until('nothing refused', async () => (await answer())?.source.refused === null);
    assert.deepEqual((await answer())?.failures, []);
  } finally {
    assert.equal(await agent.end(), 0, agent.log);
  }
  assert.ok(placed(), 'SIGTERM leaves the data plane');
});

test('metrics of the released program: what its status says, and nowhere unless it is asked to', async () => {
  write(clusterText(['10.244.1.2']));
  const agent = await new RunningAgent([], ['--metrics-listen=127.0.0.1:10234']).ready();
  try {
    const lines = (await (await fetch('http://127.0.0.1:10234/metrics')).text()).split('\n');
    const document = await answer();
    assert.ok(lines.includes(`ravel_kernel_writes_total ${document?.loop.written}`), lines.join('\n'));
    assert.ok(lines.includes('ravel_source_synced 1'));
    // What only another mode can say.
    assert.deepEqual(
      lines.filter((line) => /^ravel_(bgp|vip_announced)/.test(line)),
      [],
    );
  } finally {
    assert.equal(await agent.end(), 0, agent.log);
  }
  const silent = await new RunningAgent().ready();
  await assert.rejects(fetch('http://127.0.0.1:10234/metrics'));
  assert.equal(await silent.end(), 0, silent.log);
});

test('what others delete comes back within a second', async () => {
  const agent = await new RunningAgent().ready();
  try {
    const whole = nft('list', 'table', 'ip', 'ravel');
    let began = Date.now();
    ip('addr', 'del', '10.20.0.100/32', 'dev', 'vip0');
    await until('the address', placed);
    assert.ok(Date.now() - began < 1000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    began = Date.now();
    nft('delete', 'table', 'ip', 'ravel');
    await until('the table', () => nft('list', 'tables').includes('table ip ravel') && nft('list', 'table', 'ip', 'ravel') === whole);
    assert.ok(Date.now() - began < 1000);
    assert.ok(((await answer())?.loop.doubts ?? 0) >= 2);
  } finally {
    await agent.end();
  }
});

test('a table made dormant and a chain made to drop are differences, and are put right', async () => {
  const agent = await new RunningAgent().ready();
  try {
    const whole = nft('list', 'table', 'ip', 'ravel');
    for (const change of [
      ['chain', 'ip', 'ravel', 'prerouting', '{ policy drop; }'],
      ['add', 'table', 'ip', 'ravel', '{ flags dormant; }'],
    ]) {
      nft(...change);
      await until(`undone: ${change.join(' ')}`, () => nft('list', 'table', 'ip', 'ravel') === whole);
    }
  } finally {
    await agent.end('SIGKILL');
  }
  nft('add', 'table', 'ip', 'ravel', '{ flags dormant; }');
  assert.equal(command('plan', ...flags).code, 2, 'seen without the event, too');
});

test('kill -9 and a new start: nothing is written', async () => {
  const first = await new RunningAgent().ready();
  await first.end('SIGKILL');
  const [generation, programmed] = [await nftables.generation(), picture()];
  const second = await new RunningAgent().ready();
  try {
    assert.equal((await answer())?.loop.written, 0);
    assert.equal(await nftables.generation(), generation);
    assert.deepEqual(picture(), programmed);
  } finally {
    await second.end();
  }
});

test('SIGHUP reads the file again; an interface that is missing is named, and used once it is there', async () => {
  const agent = await new RunningAgent().ready();
  agent.process.kill('SIGHUP');
  await until('the reload', () => agent.log.includes('"reloading"'));
  await until('still in force', async () => (await answer())?.source.synced === true);
  await agent.end();
  const other = flags.map((flag) => (flag === '--compute-iface=eth0' ? '--compute-iface=eth9' : flag));
  const once = command('--once', ...other);
  assert.equal(once.code, 1);
  assert.match(once.err, /eth9/);
  const late = spawn(process.execPath, [program, ...other], { stdio: 'ignore' });
  try {
    await until('the failure in status', async () => (await answer())?.failures.some(({ errno }) => errno === 'InterfaceMissing') === true);
    ip('link', 'add', 'eth9', 'type', 'veth', 'peer', 'name', 'segment9');
    ip('link', 'set', 'eth9', 'up');
    await until('no failure any more', async () => (await answer())?.failures.length === 0);
    assert.equal(sysctl('net/ipv4/conf/eth9/arp_ignore'), '1');
    assert.equal(sysctl('net/ipv4/conf/eth0/arp_ignore'), '0', 'the interface that is no longer used has its old value again');
  } finally {
    late.kill('SIGTERM');
    await new Promise((resolve) => late.once('exit', resolve));
    ip('link', 'del', 'eth9');
  }
});

test('without CAP_NET_ADMIN: EPERM is named, exit code 1, nothing changed', () => {
  const wanted = ['--bounding-set=-net_admin', '--inh-caps=-net_admin', '--', process.execPath, program, '--once', ...flags];
  command('cleanup', '--vip-interface=vip0', `--state-dir=${state}`);
  const untouched = picture();
  const { status, stderr } = spawnSync('setpriv', wanted, { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /EPERM/);
  assert.deepEqual(picture(), untouched);
  const check = spawnSync('setpriv', [...wanted.slice(0, 5), 'check', ...flags], { encoding: 'utf8' });
  assert.equal(check.status, 1);
  assert.match(check.stdout, /fail +capability +CAP_NET_ADMIN is missing/);
});

/** Programs started, as strace saw it. */
const started = (trace: string): string[] =>
  readFileSync(trace, 'utf8')
    .split('\n')
    .filter((line) => /exec(?:ve|veat)\(/.test(line));
const traced = (trace: string): string[] => ['strace', '-f', '-qq', '-e', 'trace=execve,execveat', '-o', trace];

test('a running agent starts no process', async () => {
  const trace = join(folder, 'trace');
  const agent = await new RunningAgent(traced(trace)).ready();
  write(clusterText(['10.244.1.7', '10.244.1.8']));
  await until('a change under strace', () => endpoints().includes('10.244.1.8'));
  ip('addr', 'del', '10.20.0.100/32', 'dev', 'vip0');
  await until('the address again', placed);
  // strace passes no signal on: the agent itself is asked to end.
  process.kill((await answer())?.pid ?? 0, 'SIGTERM');
  await new Promise((resolve) => agent.process.once('exit', resolve));
  assert.equal(started(trace).length, 1, `only the agent itself:\n${started(trace).join('\n')}`);
});

test('the trace would show a process that was started', () => {
  const trace = join(folder, 'trace-negative');
  const [strace = '', ...words] = traced(trace);
  execFileSync(strace, [...words, process.execPath, '-e', 'require("node:child_process").execFileSync("true")']);
  assert.ok(started(trace).length >= 2);
});
