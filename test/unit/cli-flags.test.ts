import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentOptions, commonOptions, idleFlags } from '../../src/cli/agent-options.ts';
import { deadFlags, environmentName, flags } from '../../src/cli/flags.ts';
import { resolveFlags, UsageError } from '../../src/cli/resolve.ts';
import { parseDuration } from '../../src/model/duration.ts';
import { version } from '../../src/cli/version-number.ts';

const folder = mkdtempSync(join(tmpdir(), 'ravel-flags-'));
const file = (text: string): string => {
  const path = join(folder, 'agent.yaml');
  writeFileSync(path, text);
  return path;
};
const refused = (promise: Promise<unknown>, ...patterns: readonly RegExp[]): Promise<void> =>
  assert.rejects(promise, (error: unknown) => {
    assert.ok(error instanceof UsageError);
    for (const pattern of patterns) assert.match(error.message, pattern);
    return true;
  });

test('the command line goes before the environment, the environment before the file, the file before the default', async () => {
  const config = file('arp-rate: 300\naudit-interval: 30s\n');
  const environment = { RAVEL_ARP_RATE: '200' };
  const rate = async (argv: Record<string, unknown>, env: NodeJS.ProcessEnv): Promise<unknown> =>
    (await resolveFlags(argv, env)).values['arp-rate'];
  assert.equal(await rate({ config, 'arp-rate': '100' }, environment), 100);
  assert.equal(await rate({ config }, environment), 200);
  assert.equal(await rate({ config }, {}), 300);
  assert.equal(await rate({}, {}), 2000);
  assert.equal(await rate({}, { ...environment, RAVEL_CONFIG: config }), 200);
  assert.equal((await resolveFlags({ config }, {})).values['audit-interval'], 30_000);
});

test('every flag can come from all three places', async () => {
  const samples: Record<string, string> = {
    ...{ mode: 'director', 'ipvs-sysctl': 'sloppy_tcp=1', 'pod-cidr-masq': '10.244.0.0/16', 'log-level': 'warn', 'log-format': 'json' },
    ...{ 'auto-configure-service': 'a/b:c', 'auto-configure-port': '80', 'arp-rate': '50', 'removal-guard-share': '7' },
    ...{ 'removal-guard-count': '3', 'audit-interval': '5s', 'arp-refresh': '5s', 'source-file': '/x', 'state-dir': '/x', nodename: 'n7' },
    ...{ 'config-name': 'ravel', 'config-namespace': 'lb', 'config-key': 'green', kubeconfig: '/k', 'agent-namespace': 'lb' },
    ...{ 'sysctl-dir': '/x', 'compute-iface': 'eth7', 'vip-interface': 'vip7', 'handover-delay': '3s' },
    ...{ 'drain-timeout': '30s', 'readiness-timeout': '4s', 'ipvs-idle-destinations': 'keep' },
  };
  for (const [name, flag] of Object.entries(flags)) {
    const text =
      flag.kind === 'switch' ? String(!(flag as { default?: unknown }).default) : (samples[name] ?? assert.fail(`no sample for ${name}`));
    const unset: unknown = (await resolveFlags({}, {})).values[name as 'mode'];
    const results = [
      await resolveFlags({ [name]: text }, {}),
      await resolveFlags({}, { [environmentName(name)]: text }),
      await resolveFlags({ config: file(`${name}: ${text}\n`) }, {}),
    ].map(({ values }): unknown => values[name as 'mode']);
    assert.notDeepEqual(results[0], unset, name);
    assert.deepEqual(results[1], results[0], name);
    assert.deepEqual(results[2], results[0], name);
  }
});

test('what is no number, no time, no switch or out of range is refused and named by its place', async () => {
  await refused(resolveFlags({}, { RAVEL_ARP_RATE: 'abc' }), /^RAVEL_ARP_RATE: must be a whole number/);
  await refused(resolveFlags({ 'arp-rate': '' }, {}), /--arp-rate/);
  await refused(resolveFlags({ 'arp-rate': '9' }, {}), /from 10 to 100000/);
  await refused(resolveFlags({ 'iptables-masq': 'maybe' }, {}), /--iptables-masq: must be true or false/);
  await refused(resolveFlags({ config: file('arp-rate: fast\n') }, {}), /arp-rate in .*agent\.yaml/);
  await refused(resolveFlags({ 'compute-iface': ['eth0', 'eth1'] }, {}), /--compute-iface: given more than once/);
  await refused(resolveFlags({ 'compute-iface': 'a-name-that-is-too-long' }, {}), /no interface name/);
  await refused(resolveFlags({ 'pod-cidr-masq': '10.0.0.0/33', 'arp-rate': '1' }, {}), /IPv4 prefix/, /--arp-rate/);
  await refused(resolveFlags({ 'ipvs-sysctl': ['sloppy_tcp'] }, {}), /"sloppy_tcp" is not name=value/);
  await refused(resolveFlags({ 'ipvs-sysctl': ['=1'] }, {}), /is not name=value/);
});

test('the refresh interval is refused outside its range, not moved into it', async () => {
  await refused(resolveFlags({ 'arp-refresh': '999ms' }, {}), /from 1s to 1h/);
  await refused(resolveFlags({ 'arp-refresh': '61m' }, {}), /from 1s to 1h/);
  assert.equal((await resolveFlags({ 'arp-refresh': '1s' }, {})).values['arp-refresh'], 1000);
  assert.equal((await resolveFlags({ 'arp-refresh': '1h' }, {})).values['arp-refresh'], 3_600_000);
});

test('durations', () => {
  assert.deepEqual(['90', '90s', '1500ms', '2m', '1h', '0.5s'].map(parseDuration), [90_000, 90_000, 1500, 120_000, 3_600_000, 500]);
  assert.deepEqual(['', 'abc', '-1s', '1d', '1 s', 'Infinity'].map(parseDuration), Array(6).fill(undefined));
});

test('environment variables that only look like ours are left alone', async () => {
  await resolveFlags({}, { RAVEL_SERVICE_HOST: '10.96.0.1', RAVEL_PORT_80_TCP: 'tcp://10.96.0.1:80', RAVEL_EARLYLATE: 'Y' });
});

test('an unknown key of the file is an error that names the nearest flag', async () => {
  await refused(resolveFlags({ config: file('arp-rates: 5\n') }, {}), /unknown flag arp-rates, did you mean "arp-rate"\?/);
  await refused(resolveFlags({ config: file('- a\n') }, {}), /must be a map/);
  await refused(resolveFlags({ config: file('a: [\n') }, {}), /agent\.yaml/);
  await refused(resolveFlags({ config: join(folder, 'none.yaml') }, {}), /no such file/);
});

test('dead flags are accepted with one warning each, wherever they come from', async () => {
  const { warnings } = await resolveFlags(
    { 'coordinator-port': '44444', config: file('bgp-bin: /bin/gobgp\n') },
    { RAVEL_STATS_PORT: '1' },
  );
  assert.deepEqual(
    warnings.map((line) => line.split(' ')[0]),
    ['--coordinator-port', 'bgp-bin', 'RAVEL_STATS_PORT'],
  );
  assert.ok(Object.keys(deadFlags).every((name) => !(name in flags)));
});

test('a run complains about all that is missing at once, and about a VIP device that would answer ARP', async () => {
  const { values } = await resolveFlags({}, {});
  assert.throws(() => agentOptions(values), /--mode[^]*--config-name=NAME or --source-file=FILE[^]*--compute-iface/);
  const both = { mode: 'realserver', 'source-file': 'x', 'compute-iface': 'eth0', 'vip-interface': 'eth0' };
  const realserver = await resolveFlags(both, {});
  assert.throws(() => agentOptions(realserver.values), /must not be --compute-iface/);
  const director = await resolveFlags({ ...both, mode: 'director' }, {});
  assert.equal(agentOptions(director.values).vipInterface, 'eth0');
});

const chosen = async (flags: Record<string, string>): Promise<unknown> => {
  const { values } = await resolveFlags({ mode: 'director', 'compute-iface': 'eth0', ...flags }, {});
  return agentOptions(values).source;
};

test('the source is the API when a ConfigMap is named, the file when a file is', async () => {
  assert.deepEqual(await chosen({ 'source-file': '/x' }), { kind: 'file', file: '/x' });
  const kubernetes = { kind: 'kubernetes', namespace: undefined, name: 'ravel', key: 'config', kubeconfig: undefined };
  assert.deepEqual(await chosen({ 'config-name': 'ravel' }), kubernetes);
  const flags = { 'config-name': 'ravel', 'config-namespace': 'lb', 'config-key': 'green', kubeconfig: '/k' };
  assert.deepEqual(await chosen(flags), { kind: 'kubernetes', namespace: 'lb', name: 'ravel', key: 'green', kubeconfig: '/k' });
});

test('both sources, or none, is a wrong call that says so', async () => {
  await refused(chosen({ 'source-file': '/x', 'config-name': 'ravel' }), /by a file or by the Kubernetes API, not by both/);
  await refused(chosen({}), /^missing --config-name=NAME or --source-file=FILE/);
  await refused(chosen({ 'config-namespace': 'lb', 'config-key': 'green', kubeconfig: '/k' }), /^missing --config-name=NAME/);
});

test('names that no object can have are refused: they become part of a path', async () => {
  for (const name of ['../secrets', 'a/b', 'Ravel', '-a', 'a..b', 'a?b', 'a'.repeat(254), ' '])
    await refused(resolveFlags({ 'config-name': name }, {}), /--config-name: is no name of a Kubernetes object/);
  await refused(resolveFlags({ 'agent-namespace': 'a b', 'config-namespace': '' }, {}), /--agent-namespace/, /--config-namespace/);
  await refused(resolveFlags({ 'config-key': '' }, {}), /--config-key: must not be empty/);
  assert.equal((await resolveFlags({ 'config-name': 'lb.example-1' }, {})).values['config-name'], 'lb.example-1');
});

test('flags of the API beside a file are named as idle, and only those', async () => {
  const idle = async (flags: Record<string, string>): Promise<string[]> => idleFlags((await resolveFlags(flags, {})).values);
  const [first, ...others] = await idle({ 'source-file': '/x', 'config-key': 'green' });
  assert.equal(first, '--config-key has no effect: the cluster comes from --source-file');
  assert.deepEqual(others, []);
  assert.deepEqual(await idle({ 'source-file': '/x' }), []);
  assert.deepEqual(await idle({ 'config-name': 'ravel', 'config-key': 'green' }), []);
});

test('cordoned nodes leave unless it is said that they stay', async () => {
  const { values } = await resolveFlags({}, {});
  assert.equal(commonOptions(values).ignoreCordon, false);
  assert.equal(commonOptions((await resolveFlags({ 'ipvs-ignore-node-cordon': 'true' }, {})).values).ignoreCordon, true);
});

test('the version is that of the package', () => {
  assert.equal(version, (JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version);
});
