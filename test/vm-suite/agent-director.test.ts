/**
 * The agent as a process of its own, as director, on a kernel with IPVS and dummy devices. ipvsadm, ip and the other end
 * of the wire say what it did. The runner gives this file namespaces of its own.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { Arp, Netns } from '../../src/native/index.ts';
import type { ArpPacket } from '../../src/native/link-types.ts';
import type { AgentDocument } from '../../src/observe/agent-document.ts';
import { askAgent } from '../../src/observe/status-server.ts';

const program = 'dist/ravel-agent.js';
const folder = mkdtempSync(join(tmpdir(), 'ravel-director-'));
const file = join(folder, 'cluster.yaml');
const state = join(folder, 'state');
const flags = ['--mode=director', '--compute-iface=eth0', `--source-file=${file}`, `--state-dir=${state}`, '--handover-delay=0s'];

const run = (name: string, ...words: readonly string[]): string => execFileSync(name, words, { encoding: 'utf8' });
const ipvs = (): string[] =>
  run('ipvsadm', '-Sn')
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .sort();

/** Pods of `shop/web` by node; `n2Pods` and `web` say more of those on n2 and of the Service. */
function clusterText(n1: number, n2: number, n2Pods: object = {}, web: object = {}): string {
  const vips = ['10.20.0.100'];
  const pods = (node: number, count: number) =>
    Array.from({ length: count }, (_, index) => ({
      ...{ address: `10.244.${String(node)}.${String(index + 2)}`, port: 8080, portName: 'http', node: `n${String(node)}` },
    }));
  return JSON.stringify({
    nodes: [
      { name: 'n1', addresses: ['10.20.0.11'] },
      { name: 'n2', addresses: ['10.20.0.12'] },
    ],
    services: [
      {
        ...{ namespace: 'shop', name: 'web', ports: [{ name: 'http', port: 80, protocol: 'TCP' }], ...web },
        endpoints: [...pods(1, n1), ...pods(2, n2).map((pod) => ({ ...pod, ...n2Pods }))],
      },
    ],
    config: Object.fromEntries(vips.map((vip) => [vip, { '80': { namespace: 'shop', service: 'web', portName: 'http' } }])),
  });
}

function write(text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

function command(...words: readonly string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...words], { encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await condition())) {
    if (Date.now() > deadline) assert.fail(`not within a minute: ${what}`);
    await wait(50);
  }
}

const answer = async (): Promise<AgentDocument | undefined> =>
  (await askAgent(join(state, 'director.sock'), 20_000)) as AgentDocument | undefined;

let agent: ChildProcess | undefined;

async function start(...extra: readonly string[]): Promise<void> {
  agent = spawn(process.execPath, [program, ...flags, ...extra], { stdio: ['ignore', 'ignore', 'inherit'] });
  await until('the first pass', async () => ((await answer())?.loop.passes ?? 0) >= 1);
}

async function stop(): Promise<void> {
  const ended = new Promise((resolve) => agent?.once('exit', resolve));
  agent?.kill('SIGTERM');
  await ended;
  agent = undefined;
}

let segment: Netns;

before(async () => {
  run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'segment');
  // The other end of the wire is another machine.
  segment = await Netns.create();
  run('ip', 'link', 'set', 'segment', 'netns', segment.path);
  run('nsenter', `--net=${segment.path}`, 'ip', 'link', 'set', 'segment', 'up');
  for (const name of ['lo', 'eth0']) run('ip', 'link', 'set', name, 'up');
  run('ip', 'addr', 'add', '10.20.0.10/24', 'dev', 'eth0');
  // A link-local address changes by itself while it is checked for duplicates; pictures wait until that is over.
  await until('addresses to settle', () => !run('ip', '-o', 'addr', 'show').includes('tentative'));
});

afterEach(async () => {
  if (agent !== undefined) await stop();
});

after(async () => {
  await segment.close();
  rmSync(folder, { recursive: true });
});

test('plan, --once, plan, --once again, cleanup: as ipvsadm and ip see it', () => {
  // Somebody else's, of every kind that is easily mistaken for ours.
  run('ipvsadm', '-A', '-t', '10.96.0.1:443', '-s', 'rr', '-p', '300');
  run('ipvsadm', '-a', '-t', '10.96.0.1:443', '-r', '10.20.0.5:6443', '-m');
  run('ipvsadm', '-A', '-f', '7', '-s', 'wlc');
  run('ip', 'link', 'add', 'kube-ipvs0', 'type', 'dummy');
  const picture = () => ({ ipvs: ipvs(), addresses: run('ip', '-o', 'addr', 'show'), links: run('ip', '-o', 'link', 'show') });
  const before = picture();
  write(clusterText(2, 1));

  assert.equal(command('plan', ...flags).code, 2);
  assert.deepEqual(picture(), before);
  const once = command('--once', ...flags);
  assert.equal(once.code, 0, once.err);
  assert.deepEqual(
    ipvs().filter((line) => line.includes('10.20.0.100')),
    ['-A -t 10.20.0.100:80 -s wrr', '-a -t 10.20.0.100:80 -r 10.20.0.11:80 -g -w 2', '-a -t 10.20.0.100:80 -r 10.20.0.12:80 -g -w 1'],
  );
  assert.match(run('ip', '-d', '-o', 'link', 'show', 'ravel0'), /<BROADCAST,NOARP,UP,LOWER_UP>.* dummy/);
  assert.match(run('ip', '-o', 'addr', 'show', 'ravel0'), /10\.20\.0\.100\/32/);
  const plan = command('plan', ...flags);
  assert.equal(plan.code, 0, plan.out + plan.err);
  const again = command('--once', ...flags);
  assert.equal(again.code, 0);
  assert.doesNotMatch(again.err, /"programmed"/, 'nothing was written');

  const status = command('status', '--mode=director', `--state-dir=${state}`);
  assert.match(status.out, /tcp 10\.20\.0\.100:80 +wrr[^]*-> 10\.20\.0\.11:80 +direct weight 2/);
  assert.doesNotMatch(status.out, /10\.96\.0\.1/);
  const cleaned = command('cleanup', `--state-dir=${state}`);
  assert.equal(cleaned.code, 0, cleaned.err);
  assert.deepEqual(picture(), before);
});

test('a take-over is heard on the segment: ten frames, the first at once; a foreign claim is named and answered', async () => {
  write(clusterText(1, 1));
  const arp = await Arp.open({ netns: segment });
  const heard: { at: number; packet: ArpPacket }[] = [];
  const listening = new AbortController();
  const listener = (async () => {
    for await (const packet of arp.watch('segment', { signal: listening.signal })) {
      if (!('type' in packet) && packet.senderAddress === '10.20.0.100') heard.push({ at: performance.now(), packet });
    }
  })();
  await wait(200);
  await start();
  // Not from /sys, which shows the namespace that it was mounted in.
  const mac = /link\/ether (\S+)/.exec(run('ip', '-o', 'link', 'show', 'eth0'))?.[1];
  const fromUs = () => heard.filter(({ packet }) => packet.senderMac === mac);
  await until('the burst', () => fromUs().length >= 10);
  assert.deepEqual(new Set(fromUs().map(({ packet }) => packet.operation)), new Set(['request', 'reply']));
  assert.ok(
    fromUs().every(({ packet }) => packet.targetAddress === '10.20.0.100'),
    'gratuitous',
  );
  const [first, last] = [fromUs()[0]?.at ?? 0, fromUs()[9]?.at ?? 0];
  assert.ok(last - first > 1500 && last - first < 5000, `the burst took ${String(last - first)} ms`);
  assert.deepEqual((await answer())?.vips, [{ address: '10.20.0.100', announced: true, reason: null, conflicts: 0 }]);

  const count = fromUs().length;
  await arp.announce('segment', ['10.20.0.100'], 'reply');
  await until('the conflict', async () => ((await answer())?.vips[0]?.conflicts ?? 0) >= 1);
  assert.equal((await answer())?.vips[0]?.reason?.code, 'AddressConflict');
  await until('an answer to it', () => fromUs().length > count);
  listening.abort();
  await listener;
  await arp.close();
  await stop();
});

test('weights follow the pods; what others delete comes back; what others add beside us stays', async () => {
  write(clusterText(1, 0));
  await start('--audit-interval=1s');
  // It was there from before, without pods now: that it is emptied first lasts about a second, and is looked at in drain.test.ts.
  await until('the empty node to go', () => !ipvs().some((line) => line.includes('10.20.0.12')));
  write(clusterText(3, 2));
  await until('new weights', () => ipvs().includes('-a -t 10.20.0.100:80 -r 10.20.0.11:80 -g -w 3'));
  run('ipvsadm', '-D', '-t', '10.20.0.100:80');
  await until('the service', () => ipvs().includes('-a -t 10.20.0.100:80 -r 10.20.0.11:80 -g -w 3'));
  run('ip', 'link', 'del', 'ravel0');
  await until('the device', () => spawnSync('ip', ['addr', 'show', 'ravel0'], { encoding: 'utf8' }).stdout.includes('10.20.0.100/32'));
  // With what the agent never writes; all else on a VIP of ours is taken for our own.
  run('ipvsadm', '-A', '-u', '10.20.0.100:443', '-s', 'rr', '-p', '60', '--pe', 'sip');
  await until(
    'the foreign service in status',
    async () => (await answer())?.foreign.some(({ key }) => key === 'udp 10.20.0.100:443') === true,
  );
  assert.ok(ipvs().some((line) => line.startsWith('-A -u 10.20.0.100:443 -s rr -p 60')));
  run('ipvsadm', '-D', '-u', '10.20.0.100:443');
  await stop();
});

test('a node leaves in steps, at the same place after a restart, and is gone in the end', async () => {
  const setting = (): string => run('cat', '/proc/sys/net/ipv4/vs/expire_nodest_conn').trim();
  const n2 = (weight: number): string => `-a -t 10.20.0.100:80 -r 10.20.0.12:80 -g -w ${String(weight)}`;
  const slowly = { drainSteps: '2/30m' };
  write(clusterText(1, 2, {}, slowly));
  await start();
  assert.ok(ipvs().includes(n2(4)), ipvs().join('\n'));
  assert.equal(setting(), '1');
  const leaving = clusterText(1, 2, { ready: false, terminating: true }, slowly);
  write(leaving);
  await until('the first step', () => ipvs().includes(n2(2)));
  await stop();
  await start();
  assert.ok(ipvs().includes(n2(2)), ipvs().join('\n'));
  write(clusterText(1, 0));
  await until('the removal', () => !ipvs().some((line) => line.includes('10.20.0.12')));
  await stop();
  assert.equal(command('cleanup', `--state-dir=${state}`).code, 0);
  assert.equal(setting(), '0');
});

test('idle destinations that are kept are there with weight 0', async () => {
  write(clusterText(1, 0));
  await start('--ipvs-idle-destinations=keep');
  assert.ok(ipvs().includes('-a -t 10.20.0.100:80 -r 10.20.0.12:80 -g -w 0'), ipvs().join('\n'));
  await stop();
});

test('an interface that goes down and comes up is announced on again', async () => {
  write(clusterText(1, 1));
  await start('--arp-refresh=1s');
  await until('announced', async () => (await answer())?.vips[0]?.announced === true);
  run('ip', 'link', 'set', 'eth0', 'down');
  await until('InterfaceDown', async () => (await answer())?.vips[0]?.reason?.code === 'InterfaceDown');
  run('ip', 'link', 'set', 'eth0', 'up');
  await until('announced again', async () => (await answer())?.vips[0]?.announced === true);
  await stop();
});
