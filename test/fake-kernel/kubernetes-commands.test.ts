/** Commands against an API server over HTTP: what they print, and that each ends by itself. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { checkSchema, type Finding } from '../../src/cli/check.ts';
import { resources } from '../../src/kubernetes/api.ts';
import { configMap, node, service, slice } from '../fake-api/objects.ts';
import { startFakeServer } from '../fake-api/server.ts';
import { ravelAgent } from '../unit/cli.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { webAt } from './cluster-rig.ts';
import { freshKernel, nodeNameOf } from './rig.ts';

const folder = temporaryDirectory('commands');
const server = await startFakeServer({ token: 'let-me-in' });
after(() => server.close());
const kubeconfig = join(folder, 'kubeconfig');
writeFileSync(kubeconfig, server.kubeconfig);
const { api } = server;
const flags = [
  ...['--compute-iface=eth0', `--state-dir=${join(folder, 'state')}`, '--log-level=error'],
  ...['--config-name=ravel', '--config-namespace=lb', `--kubeconfig=${kubeconfig}`],
];

beforeEach(() => {
  api.faults.heal();
  api.store.put(resources.nodes, node({ name: 'n1', address: '10.20.0.11' }));
  api.store.put(resources.services, service({ namespace: 'shop', name: 'web' }));
  const endpoints = [{ address: '10.244.1.2', node: 'n1' }];
  api.store.put(resources.endpointSlices, slice({ namespace: 'shop', service: 'web', endpoints }));
  api.store.put(resources.configMaps, configMap('lb', 'ravel', { config: JSON.stringify(webAt('10.50.0.1')) }));
});

/** The server hears of it when the connection has closed. */
async function nothingOpen(): Promise<void> {
  const deadline = performance.now() + 5000;
  while (api.watches.size > 0) {
    if (performance.now() > deadline) assert.fail(`${api.watches.size} watches are left open`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

for (const mode of ['director', 'realserver'] as const) {
  test(`${mode}: plan, --once, plan: something, done, nothing`, async () => {
    const kernel = freshKernel();
    const call = (...words: string[]) => ravelAgent([...words, `--mode=${mode}`, `--nodename=${nodeNameOf(mode)}`, ...flags], { kernel });
    const plan = await call('plan');
    assert.equal(plan.code, 2, plan.err);
    assert.match(plan.out, /^10\.50\.0\.1$/m);
    assert.equal((await call('--once')).code, 0);
    const again = await call('plan');
    assert.equal(again.code, 0, again.out + again.err);
    await nothingOpen();
  });
}

test('--once waits for no other machine: a node that has confirmed nothing gets its weight', async () => {
  const kernel = freshKernel();
  const once = () => ravelAgent(['director', '--once', ...flags], { kernel });
  assert.equal((await once()).code, 0);
  api.store.put(resources.nodes, node({ name: 'n2', address: '10.20.0.12' }));
  const endpoints = ['n1', 'n2'].map((name, index) => ({ address: `10.244.${index}.2`, node: name }));
  api.store.put(resources.endpointSlices, slice({ namespace: 'shop', service: 'web', endpoints }));
  assert.equal((await once()).code, 0);
  assert.deepEqual(
    kernel.ipvs.services().flatMap(({ destinations }) => destinations.map(({ id, spec }) => `${id.address}=${spec.weight}`).sort()),
    ['10.20.0.11=1', '10.20.0.12=1'],
  );
});

test('plan with a refused ConfigMap: its path, exit 1; without one: that', async () => {
  const call = () => ravelAgent(['plan', '--mode=director', '--nodename=d1', ...flags], { kernel: freshKernel() });
  api.store.put(resources.configMaps, configMap('lb', 'ravel', { config: '{"config":{"nonsense":{}}}' }));
  const broken = await call();
  assert.deepEqual([broken.code, broken.out], [1, '']);
  assert.match(broken.err, /^ConfigMap lb\/ravel.*config\.nonsense: "nonsense" is not an IP address$/m);
  api.store.put(resources.configMaps, configMap('lb', 'ravel', { other: '{}' }));
  assert.match((await call()).err, /has no such key/);
  api.store.remove(resources.configMaps, 'lb/ravel');
  assert.match((await call()).err, /ConfigMap lb\/ravel does not exist/);
});

test('wrong calls say what is wrong, and nothing secret', async () => {
  const call = (...words: string[]) => ravelAgent(['plan', '--mode=director', '--compute-iface=eth0', ...words], { kernel: freshKernel() });
  const both = await call('--config-name=ravel', '--source-file=x.yaml');
  assert.equal(both.code, 1);
  assert.match(both.err, /--source-file and --config-name/);
  const nowhere = await call('--config-name=ravel', `--kubeconfig=${join(folder, 'none')}`);
  assert.equal(nowhere.code, 1);
  assert.match(nowhere.err, /none: no such file/);
  assert.doesNotMatch(nowhere.err, /\n\s+at /, 'no stack');
  const nameless = await call('--config-name=ravel', `--kubeconfig=${kubeconfig}`);
  assert.equal(nameless.code, 1);
  assert.match(nameless.err, /--config-namespace: the credentials name no namespace/);
  assert.doesNotMatch(both.err + nowhere.err + nameless.err, /let-me-in/);
});

async function check(mode: string, extra: readonly string[] = flags): Promise<{ code: number; findings: Finding[] }> {
  const { code, out, err } = await ravelAgent(['check', `--mode=${mode}`, ...extra, '-o', 'json'], { kernel: freshKernel() });
  assert.notEqual(out, '', err);
  const { findings } = checkSchema.parse(JSON.parse(out));
  return { code, findings: findings.filter(({ check: name }) => ['Kubernetes API', 'RBAC', 'configuration'].includes(name)) };
}

test('check: the API answers, all is allowed, the ConfigMap is valid; and nothing was written there', async () => {
  for (const mode of ['director', 'realserver']) {
    const { findings } = await check(mode);
    assert.deepEqual(
      findings.map(({ level, check: name }) => [level, name]),
      [
        ['ok', 'Kubernetes API'],
        ['ok', 'RBAC'],
        ['ok', 'configuration'],
      ],
      JSON.stringify(findings),
    );
    assert.match(findings[1]?.message ?? '', mode === 'director' ? /watch nodes.*patch events/ : /update leases/);
  }
  assert.deepEqual([...api.objects(resources.leases), ...api.objects(resources.events)], []);
  await nothingOpen();
});

test('check: each missing right is named, whatever it is', async () => {
  const rights = [
    ...[
      ['director', 'list', 'nodes'],
      ['director', 'watch', 'endpointslices'],
      ['director', 'create', 'events'],
    ],
    ...[
      ['director', 'patch', 'events'],
      ['director', 'list', 'leases'],
      ['director', 'get', 'configmaps'],
    ],
    ...[
      ['realserver', 'list', 'services'],
      ['realserver', 'create', 'leases'],
      ['realserver', 'update', 'leases'],
    ],
  ] as const;
  for (const [mode, verb, resource] of rights) {
    api.faults.heal();
    api.faults.forbid(verb, resource);
    const { code, findings } = await check(mode);
    const failed = findings.filter(({ level }) => level === 'fail');
    assert.equal(code, 1);
    assert.equal(failed.length, 1, `${mode} ${verb} ${resource}: ${JSON.stringify(findings)}`);
    assert.match(failed[0]?.message ?? '', new RegExp(`^${mode} may not ${verb} ${resource}.*cannot ${verb}`));
  }
  api.faults.heal();
  api.faults.forbid('list', 'nodes');
  assert.ok(
    (await check('realserver')).findings.every(({ level }) => level === 'ok'),
    'what a mode does not need is not asked for',
  );
});

test('check: a ConfigMap that is missing or wrong, credentials that are refused, a server that is away', async () => {
  api.store.put(resources.configMaps, configMap('lb', 'ravel', { config: '{' }));
  const failed = async (extra?: readonly string[]): Promise<string> => {
    const { code, findings } = await check('director', extra);
    assert.equal(code, 1);
    return findings.flatMap(({ level, check: name, message }) => (level === 'fail' ? [`${name}: ${message}`] : [])).join('\n');
  };
  assert.match(await failed(), /^configuration: ConfigMap lb\/ravel/);
  api.store.remove(resources.configMaps, 'lb/ravel');
  assert.match(await failed(), /^configuration: .*does not exist/);
  server.setToken('another');
  assert.match(await failed(), /^Kubernetes API: .*the credentials are refused \(401\)/);
  server.setToken('let-me-in');
  const away = join(folder, 'away');
  writeFileSync(away, server.kubeconfig.replaceAll(/127\.0\.0\.1:\d+/g, '127.0.0.1:1'));
  const elsewhere = flags.map((flag) => (flag.startsWith('--kubeconfig') ? `--kubeconfig=${away}` : flag));
  assert.match(await failed(elsewhere), /^Kubernetes API: http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/);
});
