/**
 * The released program as realserver on the running kernel, following an API server over HTTP on the loopback. The runner
 * gives this file namespaces of its own; this kernel may have no dummy devices, so the VIPs are on a bridge.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { resources } from '../../src/kubernetes/api.ts';
import type { AgentDocument, KubernetesDocument } from '../../src/observe/agent-document.ts';
import { askAgent } from '../../src/observe/status-server.ts';
import { configMap, service, slice } from '../fake-api/objects.ts';
import { startFakeServer, type FakeServer } from '../fake-api/server.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { until } from './tools.ts';

const program = existsSync('dist/ravel-agent.js') ? 'dist/ravel-agent.js' : 'src/cli/main.ts';
const folder = temporaryDirectory('kube');
const state = join(folder, 'state');
const kubeconfig = join(folder, 'kubeconfig');
const flags = [
  ...['--mode=realserver', '--compute-iface=eth0', '--vip-interface=vip0', '--nodename=n1', `--state-dir=${state}`],
  ...['--config-name=ravel', '--config-namespace=lb', '--handover-delay=0s'],
];
const config = { config: { '10.20.0.100': { '80': { namespace: 'shop', service: 'web', portName: 'http' } } } };

const ip = (...words: readonly string[]): string => execFileSync('ip', words, { encoding: 'utf8' });
/** Empty as long as there is no table. */
const endpoints = (): string[] =>
  [...execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }).matchAll(/: (10\.244\.\S+) \. 8080/g)].map(([, pod]) => pod ?? '');

let server: FakeServer;

function pods(...addresses: readonly string[]): number {
  const stored = server.api.store.put(
    resources.endpointSlices,
    slice({ namespace: 'shop', service: 'web', endpoints: addresses.map((address) => ({ address, node: 'n1' })) }),
  );
  return Number(stored.metadata.resourceVersion);
}

/** The revision that the realserver has confirmed. */
function confirmed(): number {
  const [lease] = server.api.objects(resources.leases);
  return Number(lease?.metadata.annotations?.['ravel.io/programmed-revision'] ?? Number.NaN);
}

async function kubernetes(): Promise<KubernetesDocument> {
  const answer = (await askAgent(join(state, 'realserver.sock'))) as AgentDocument | undefined;
  const document = answer?.source.kubernetes ?? undefined;
  return document ?? assert.fail('no agent with Kubernetes answers');
}

/** A command to its end. The server is in this process, so nothing here may wait for it without letting it answer. */
function command(...words: readonly string[]): Promise<{ code: number; out: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...words], { timeout: 60_000 }, (error, stdout) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out: stdout });
    });
  });
}

/** Some milliseconds, or a second on a machine that is busy. What is left open by mistake holds a process for 10 s and more. */
const promptly = 3000;

let agent: ChildProcess | undefined;
let log = '';

async function start(file = kubeconfig): Promise<ChildProcess> {
  log = '';
  const started = spawn(process.execPath, [program, ...flags, `--kubeconfig=${file}`], { stdio: ['ignore', 'ignore', 'pipe'] });
  started.stderr.setEncoding('utf8').on('data', (text: string) => (log += text));
  agent = started;
  await until('the agent has started, or failed to', () => log.includes('started') || started.exitCode !== null);
  if (started.exitCode !== null) assert.fail(log);
  return started;
}

/** Milliseconds from the signal to the end, and its exit status. */
async function end(signal: NodeJS.Signals = 'SIGTERM'): Promise<{ code: number | null; milliseconds: number }> {
  const running = agent ?? assert.fail('no agent runs');
  agent = undefined;
  if (running.exitCode !== null) return { code: running.exitCode, milliseconds: 0 };
  const asked = performance.now();
  const code = new Promise<number | null>((resolve) => running.once('exit', (status) => resolve(status)));
  running.kill(signal);
  return { code: await code, milliseconds: performance.now() - asked };
}

before(async () => {
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'segment');
  ip('link', 'add', 'vip0', 'type', 'bridge');
  for (const name of ['eth0', 'segment', 'vip0']) ip('link', 'set', name, 'up');
  ip('addr', 'add', '10.20.0.11/24', 'dev', 'eth0');
  server = await startFakeServer({ token: 'let-me-in' });
  writeFileSync(kubeconfig, server.kubeconfig);
  server.api.store.put(resources.services, service({ namespace: 'shop', name: 'web' }));
  server.api.store.put(resources.configMaps, configMap('lb', 'ravel', { config: JSON.stringify(config) }));
  pods('10.244.1.2', '10.244.1.3');
});

afterEach(async () => {
  if (agent !== undefined) await end('SIGKILL');
});

after(async () => {
  await server.close();
});

test('rules for the pods of this node, a lease that confirms them, three watches; changes follow within moments', async () => {
  await start();
  await until('two pods', () => endpoints().length === 2);
  const revision = pods('10.244.1.2', '10.244.1.3', '10.244.1.4');
  const changed = performance.now();
  await until('three pods', () => endpoints().length === 3);
  assert.ok(performance.now() - changed < 1000, 'within a second, reading nft included');
  await until('confirmed', () => confirmed() >= revision);
  assert.equal(server.api.mostWatches, 3);
  const { watches, lease } = await kubernetes();
  assert.ok(watches.every(({ state: at, error }) => at === 'watching' && error === null));
  assert.equal(lease?.error, null);
  const { code: told, out } = await command('status', '--sample=0', `--state-dir=${state}`);
  assert.equal(told, 0);
  assert.match(
    out,
    /ConfigMap lb\/ravel: in force[^]*: followed\n {2}services +watching[^]*lease lb\/ravel-realserver-n1 +kept[^]*tcp 10\.20\.0\.100:80/,
  );
  const { code, milliseconds } = await end();
  assert.equal(code, 0);
  assert.ok(milliseconds < promptly, `ended after ${milliseconds} ms`);
  assert.deepEqual(endpoints(), ['10.244.1.2', '10.244.1.3', '10.244.1.4'], 'the data plane stays');
  await until('no watch is left', () => server.api.watches.size === 0);
});

test('the API server goes away and comes back: rules stay, status says so, then the change is made', async () => {
  pods('10.244.1.2');
  await start();
  await until('one pod', () => endpoints().length === 1);
  server.api.down = true;
  await until('status says that it is away', async () => (await kubernetes()).watches.every(({ error }) => error !== null));
  pods('10.244.1.2', '10.244.1.3');
  assert.equal(endpoints().length, 1);
  server.api.down = false;
  await until('two pods', () => endpoints().length === 2);
  assert.equal((await end()).code, 0);
});

test('a right that is missing: named, the program goes on; plan ends with it', async () => {
  server.api.faults.forbid('list', 'endpointslices');
  await start();
  await until('named in status', async () =>
    (await kubernetes()).watches.some(({ error }) => /^list endpointslices\.discovery\.k8s\.io: forbidden \(403\)/.test(error ?? '')),
  );
  assert.match(log, /list endpointslices\.discovery\.k8s\.io/);
  assert.equal((await end()).code, 0);
  const check = await command('check', ...flags, `--kubeconfig=${kubeconfig}`);
  assert.match(check.out, /^fail +RBAC +realserver may not list endpointslices/m);
  assert.equal(check.code, 1);
  server.api.faults.heal();
});

test('SIGTERM ends it at once whatever the server does: silent, away, or beyond a router that drops', async () => {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => sockets.add(socket));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  try {
    const address = silent.address();
    const port = typeof address === 'object' && address !== null ? address.port : assert.fail('no port');
    const another = join(folder, 'another');
    // Nobody answers ARP for the last: connecting takes its time.
    ip('route', 'add', '192.0.2.0/24', 'dev', 'eth0');
    for (const where of [`http://127.0.0.1:${port}`, 'http://127.0.0.1:1', 'https://192.0.2.1:6443']) {
      writeFileSync(another, server.kubeconfig.replaceAll(server.url, where));
      await start(another);
      await until('it is trying', async () => (await kubernetes()).watches.length === 3);
      const { code, milliseconds } = await end();
      assert.equal(code, 0, where);
      assert.ok(milliseconds < promptly, `${where}: ended after ${milliseconds} ms`);
    }
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => silent.close(() => resolve()));
  }
});
