import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentOptions, commonOptions, idleFlags, modesOf, modeOptions } from '../../src/cli/agent-options.ts';
import { deadFlags, environmentName, flags } from '../../src/cli/flags.ts';
import { resolveFlags, UsageError } from '../../src/cli/resolve.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { parseDuration } from '../../src/model/duration.ts';
import { version } from '../../src/cli/version-number.ts';
import { temporaryDirectory } from '../temporary-directory.ts';

const folder = temporaryDirectory('flags');
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
    ...{ 'ipvs-threshold-divisor': 'nodes', 'ipvs-colocation-mode': 'nft', 'nat-backend': 'iptables', 'iptables-chain': 'LB' },
    ...{ 'inside-access': 'local', 'coordinator-port': '10111', 'failover-timeout': '60' },
    ...{ 'bgp-endpoint': 'unix:/run/gobgpd.sock', 'bgp-tls-ca': '/ca', 'bgp-tls-cert': '/c', 'bgp-tls-key': '/k' },
    ...{ 'bgp-tls-server-name': 'gobgpd', 'bgp-communities': '65000:1,65000:1:2', 'bgp-local-preference': '50', 'bgp-med': '0' },
    ...{ 'bgp-next-hop': '10.0.0.2,2001:db8::2', 'bgp-prefix-length-ipv4': '24', 'bgp-prefix-length-ipv6': '64', 'bgp-drain': '10s' },
    ...{ 'bgp-asn': '65000', 'bgp-router-id': '10.0.0.2', 'bgp-peers': '10.0.0.1,asn=65001', 'ipvs-sync': 'eth1,id=7' },
    ...{ 'metrics-listen': '127.0.0.1:10234', 'drain-timeout': '30s', 'readiness-timeout': '4s', 'ipvs-idle-destinations': 'keep' },
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
  const { warnings } = await resolveFlags({ gateway: '10.0.0.1', config: file('bgp-bin: /bin/gobgp\n') }, { RAVEL_STATS_PORT: '1' });
  assert.deepEqual(
    warnings.map((line) => line.split(' ')[0]),
    ['--gateway', 'bgp-bin', 'RAVEL_STATS_PORT'],
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

test('both modes in either order are a director that serves its own pods', async () => {
  const options = async (flags: Record<string, string>): Promise<unknown> => {
    const { values } = await resolveFlags(flags, {});
    return modeOptions(values, values.mode ?? assert.fail());
  };
  const plain = { colocation: 'disabled', natBackend: 'auto' };
  assert.deepEqual(await options({ mode: 'director' }), { mode: 'director', ...plain });
  assert.deepEqual(await options({ mode: 'realserver' }), { mode: 'realserver', ...plain });
  assert.deepEqual(await options({ mode: 'director', 'ipvs-colocation-mode': 'disabled' }), { mode: 'director', ...plain });
  for (const mode of ['director,realserver', 'realserver,director', ' realserver , director ']) {
    assert.deepEqual(await options({ mode }), { mode: 'director', combined: true, colocation: 'auto', natBackend: 'auto' }, mode);
  }
  const combined = { mode: 'director', combined: true } as const;
  const mode = 'director,realserver';
  assert.deepEqual(await options({ mode, 'nat-backend': 'iptables' }), { ...combined, colocation: 'iptables', natBackend: 'iptables' });
  assert.deepEqual(await options({ mode, 'ipvs-colocation-mode': 'nft' }), { ...combined, colocation: 'nftables', natBackend: 'nftables' });
  assert.deepEqual(await options({ mode: 'director', 'ipvs-colocation-mode': 'iptables' }), {
    ...{ mode: 'director', colocation: 'iptables', natBackend: 'iptables' },
  });
  assert.deepEqual(await options({ mode: 'director', 'ipvs-colocation-mode': 'nft', 'nat-backend': 'nftables' }), {
    ...{ mode: 'director', colocation: 'nftables', natBackend: 'nftables' },
  });
  assert.deepEqual(modesOf('director,realserver'), ['director', 'realserver']);
  assert.deepEqual(modesOf('realserver'), ['realserver']);
  assert.deepEqual(await options({ mode: 'bgp' }), { mode: 'bgp', colocation: 'disabled', natBackend: 'auto' });
  assert.deepEqual(modesOf('bgp'), ['bgp']);
  for (const mode of ['bgp,realserver', 'realserver,bgp'])
    await refused(resolveFlags({ mode }, {}), /^--mode: must be bgp alone: such a director does not serve pods of its own node yet/);
  for (const mode of ['', 'both', 'director;realserver', 'director,', 'director,bgp', 'bgp,bgp,'])
    await refused(resolveFlags({ mode }, {}), /^--mode: must be director, bgp, realserver or director,realserver/);
});

test('flags that contradict each other are refused with a sentence; one that only has no effect is named', async () => {
  const run = async (flags: Record<string, string>): Promise<unknown> => {
    const { values } = await resolveFlags({ mode: 'director', 'source-file': 'x', 'compute-iface': 'eth0', ...flags }, {});
    return agentOptions(values);
  };
  await refused(run({ mode: 'director,realserver', 'ipvs-colocation-mode': 'disabled' }), /serves its own pods, which this forbids/);
  await refused(run({ 'ipvs-colocation-mode': 'nft', 'nat-backend': 'iptables' }), /are in one backend; leave one flag out/);
  await refused(run({ 'ipvs-colocation-mode': 'iptables', 'nat-backend': 'nftables' }), /are in one backend/);
  await refused(
    run({ mode: 'realserver', 'nat-backend': 'iptables', 'inside-access': 'cluster' }),
    /--inside-access=cluster: iptables reaches/,
  );
  assert.equal(((await run({ mode: 'realserver', 'nat-backend': 'iptables' })) as AgentOptions).insideAccess, 'local');
  assert.equal(((await run({ mode: 'realserver' })) as AgentOptions).insideAccess, 'cluster');
  const { values } = await resolveFlags({ mode: 'realserver', 'ipvs-colocation-mode': 'iptables' }, {});
  assert.deepEqual(idleFlags(values), ['--ipvs-colocation-mode has no effect: it is for a director, and this is a realserver']);
  assert.deepEqual(idleFlags((await resolveFlags({ mode: 'director', 'ipvs-colocation-mode': 'iptables' }, {})).values), []);
});

test('metrics: where to listen, with an address or without; a name or a port out of range is refused', async () => {
  const listen = async (text: string): Promise<unknown> => (await resolveFlags({ 'metrics-listen': text }, {})).values['metrics-listen'];
  assert.equal((await resolveFlags({}, {})).values['metrics-listen'], undefined);
  assert.deepEqual(await listen('127.0.0.1:10234'), { host: '127.0.0.1', port: 10_234 });
  assert.deepEqual(await listen(':10234'), { host: undefined, port: 10_234 });
  assert.deepEqual(await listen('[2001:DB8:0::1]:1'), { host: '2001:db8::1', port: 1 });
  for (const wrong of ['', '10234', 'localhost:10234', '2001:db8::1:80', '[127.0.0.1]:80', '127.0.0.1:0', ':65536', '300.0.0.1:80', ':80x'])
    await refused(listen(wrong), /--metrics-listen: must be :port, address:port or \[IPv6 address\]:port/);
});

test('ports of coordination are a list; 0 or nothing is none, and what is no port is refused', async () => {
  const ports = async (text: string | string[]): Promise<unknown> =>
    (await resolveFlags({ 'coordinator-port': text }, {})).values['coordinator-port'];
  assert.deepEqual((await resolveFlags({}, {})).values['coordinator-port'], [44_444]);
  assert.deepEqual(await ports('10111'), [10_111]);
  assert.deepEqual(await ports('10111, 10112'), [10_111, 10_112]);
  assert.deepEqual(await ports(['10111', '10112', '10111']), [10_111, 10_112]);
  assert.deepEqual(await ports('0'), []);
  assert.deepEqual(await ports(''), []);
  assert.deepEqual((await resolveFlags({ config: file('coordinator-port: [7, 8]\n') }, {})).values['coordinator-port'], [7, 8]);
  await refused(ports('44444,abc'), /--coordinator-port: "abc" is not a port/);
  await refused(ports('65536'), /is not a port/);
  await refused(ports('-1'), /is not a port/);
  await refused(ports('0,44444'), /0 means none and stands alone/);
  await refused(resolveFlags({ 'failover-timeout': '0' }, {}), /--failover-timeout: must be a whole number from 1 to 120/);
  await refused(resolveFlags({ 'failover-timeout': '121' }, {}), /from 1 to 120/);
});

test('a prefix of chains is ours alone and short enough for the kernel', async () => {
  for (const good of ['RAVEL', 'LB', 'lb_1', 'ABCDEFG'])
    assert.equal((await resolveFlags({ 'iptables-chain': good }, {})).values['iptables-chain'], good);
  await refused(resolveFlags({ 'iptables-chain': 'ABCDEFGH' }, {}), /^--iptables-chain: has at most 7 characters/);
  await refused(resolveFlags({ 'iptables-chain': '' }, {}), /expected a letter, then letters, digits or _/);
  await refused(resolveFlags({ 'iptables-chain': 'A-B' }, {}), /expected a letter/);
  for (const bad of ['KUBE', 'cali', 'DOCKER', 'DNAT', 'INPUT'])
    await refused(resolveFlags({ 'iptables-chain': bad }, {}), /is the name of a chain, a target or a program that is not ours/);
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
