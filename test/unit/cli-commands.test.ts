import assert from 'node:assert/strict';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { z } from 'zod';
import { checkSchema } from '../../src/cli/check.ts';
import { cleanupSchema } from '../../src/cli/cleanup.ts';
import { commands } from '../../src/cli/commands.ts';
import { planSchema } from '../../src/cli/plan.ts';
import { statusSchema } from '../../src/cli/status-schema.ts';
import { versionSchema } from '../../src/cli/version.ts';
import type { FakeKernel } from '../fake-kernel/kernel.ts';
import { freshKernel, holdings } from '../fake-kernel/rig.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { ravelAgent } from './cli.ts';

const folder = temporaryDirectory('cli');
const clusterFile = join(folder, 'cluster.yaml');
writeFileSync(
  clusterFile,
  `
nodes:
  - { name: n1, addresses: [10.20.0.11] }
  - { name: n2, addresses: [10.20.0.12] }
services:
  - namespace: shop
    name: web
    ports: [{ name: http, port: 80, protocol: TCP }]
    endpoints:
      - { address: 10.244.1.2, port: 8080, portName: http, node: n1 }
      - { address: 10.244.2.2, port: 8080, portName: http, node: n2 }
config:
  '10.20.0.100':
    '80': { namespace: shop, service: web, portName: http }
`,
);
const broken = join(folder, 'broken.yaml');
writeFileSync(broken, 'config: { nonsense: { 80: {} } }\n');

const common = [
  ...['--compute-iface=eth0', `--source-file=${clusterFile}`, '--nodename=n1', `--state-dir=${join(folder, 'state')}`],
  // Whatever runs on the machine of the tests is none of their business.
  '--coordinator-port=0',
];
const modes = ['director', 'realserver'] as const;
const json = (schema: z.ZodType, text: string): Record<string, unknown> => schema.parse(JSON.parse(text)) as Record<string, unknown>;

test('every command explains itself with an example', async () => {
  const top = await ravelAgent(['--help']);
  assert.equal(top.code, 0);
  for (const { command } of [...commands.filter((entry) => entry.command !== '$0'), { command: 'validate' }]) {
    assert.match(top.out, new RegExp(`ravel-agent ${command}\\b`), command);
    const { code, out } = await ravelAgent([command, '--help']);
    assert.equal(code, 0, command);
    assert.match(out, new RegExp(`Examples:[^]*ravel-agent ${command}`), command);
  }
  assert.match(top.out, /Examples:[^]*--mode=director/);
  assert.match(top.out, /RAVEL_COMPUTE_IFACE/);
  assert.match(top.out, /default: ravel0/);
  assert.doesNotMatch(top.out, /stats-port/, 'dead flags are not advertised');
});

test('bad calls: exit code 1, one sentence on standard error, nothing on standard output', async () => {
  for (const [args, pattern] of [
    [['--nonsense'], /nonsense/],
    [['plam'], /plam/],
    [['--mode=ospf'], /--mode: must be director, bgp, realserver or director,realserver/],
    [['plan', '--mode=bgp', '--ipvs-colocation-mode=nft', ...common], /of --mode=bgp does not serve pods of its own node yet/],
    [['plan', '--mode=bgp', '--vip-interface=eth0', ...common], /--vip-interface: must not be --compute-iface in mode bgp/],
    [['plan', '--mode=bgp', '--bgp-asn=1', ...common], /--bgp-asn and --bgp-router-id: a daemon needs both/],
    [['plan', '--mode=bgp', '--bgp-tls-cert=/c', ...common], /--bgp-tls-cert and --bgp-tls-key: a certificate and its key/],
    [['plan', '--mode=director', '--ipvs-colocation-mode=nft', '--nat-backend=iptables', ...common], /in one backend; leave one flag out/],
    [['plan', '--mode=director'], /--source-file[^]*--compute-iface/],
    [['plan', '--arp-rate'], /arp-rate/],
    [['plan', '-o', 'xml'], /xml/],
    [['--no-debug'], /no-debug/],
    [['status', '--sample'], /--sample: must be a number/],
    [['status', '--sample=x'], /--sample: must be a number/],
    [['plan', '--mode=director', '--compute-iface=eth0', '--source-file=/nowhere/at/all.yaml'], /no such file|ENOENT|does not exist/i],
  ] as const) {
    const { code, out, err } = await ravelAgent(args);
    assert.equal(code, 1, args.join(' '));
    assert.equal(out, '', args.join(' '));
    assert.match(err, pattern);
    assert.doesNotMatch(err, /\n\s+at /, 'no stack');
  }
});

for (const mode of modes) {
  test(`${mode}: plan says 2 and changes nothing, --once does it, plan says 0, cleanup undoes it byte by byte`, async () => {
    const kernel = freshKernel();
    const before = await holdings(kernel);
    const call = (...args: string[]) => ravelAgent([...args, `--mode=${mode}`, ...common], { kernel });

    const first = await call('plan');
    assert.equal(first.code, 2, first.err);
    assert.match(first.out, /^10\.20\.0\.100$/m);
    assert.match(first.out, /\d+ to add/);
    const document = json(planSchema, (await call('plan', '-o', 'json')).out);
    assert.ok((document['changes'] as unknown[]).length >= 3);
    assert.deepEqual(await holdings(kernel), before, 'plan writes nothing');

    const once = await ravelAgent([mode, '--once', ...common, '--log-level=error'], { kernel });
    assert.equal(once.code, 0, once.err);
    const after = await call('plan');
    assert.equal(after.code, 0, after.out);
    assert.match(after.out, /nothing to change/);
    kernel.journal.clear();
    assert.equal((await call('--once', '--log-level=error')).code, 0);
    assert.equal(kernel.writes, 0);

    const status = json(
      statusSchema,
      (await ravelAgent(['status', '-o', 'json', '--sample=0', `--mode=${mode}`, ...common], { kernel })).out,
    );
    assert.equal(status['agent'], null);
    assert.match(
      (await ravelAgent(['status', '--sample=0', `--mode=${mode}`, ...common], { kernel })).out,
      /10\.20\.0\.100[^]*tcp 10\.20\.0\.100:80/,
    );

    const rehearsal = json(cleanupSchema, (await call('cleanup', '--dry-run', '-o', 'json')).out);
    assert.equal(rehearsal['dryRun'], true);
    assert.notDeepEqual(rehearsal['changes'], []);
    assert.notDeepEqual(await holdings(kernel), before);
    const cleaned = await call('cleanup', '-o', 'json');
    assert.equal(cleaned.code, 0, cleaned.err);
    assert.deepEqual(json(cleanupSchema, cleaned.out)['changes'], rehearsal['changes']);
    assert.deepEqual(await holdings(kernel), before);
    assert.deepEqual(json(cleanupSchema, (await call('cleanup', '-o', 'json')).out)['changes'], [], 'twice is no harm');
  });

  test(`${mode}: refused input and refused operations end --once and plan with 1`, async () => {
    const kernel = freshKernel();
    const bad = common.map((arg) => (arg.startsWith('--source-file') ? `--source-file=${broken}` : arg));
    const plan = await ravelAgent(['plan', `--mode=${mode}`, ...bad], { kernel });
    assert.equal(plan.code, 1);
    assert.match(plan.err, /^\/.*broken\.yaml:1: config\.nonsense: "nonsense" is not an IP address$/m, 'file, line and path');
    assert.equal((await ravelAgent([`--mode=${mode}`, '--once', '--log-level=error', ...bad], { kernel })).code, 1);
    kernel.denyEverything();
    assert.equal((await ravelAgent([`--mode=${mode}`, '--once', '--log-level=error', ...common], { kernel })).code, 1);
    const denied = await ravelAgent(['plan', `--mode=${mode}`, ...common], { kernel });
    assert.equal(denied.code, 1);
    assert.match(denied.err, /EPERM/);
    assert.equal(kernel.writes, 0);
  });
}

test('cleanup leaves what is not ours, and works where the kernel has no IPVS', async () => {
  const kernel = freshKernel();
  await kernel.ipvs.apply([{ op: 'addService', service: { protocol: 'tcp', address: '10.96.0.1', port: 443 }, spec: { scheduler: 'rr' } }]);
  kernel.nftables.commitAsOther([{ op: 'addTable', table: { family: 'ip', name: 'kube-proxy' } }]);
  const before = await holdings(kernel);
  assert.equal((await ravelAgent(['realserver', '--once', '--log-level=error', ...common], { kernel })).code, 0);
  assert.equal((await ravelAgent(['cleanup', ...common], { kernel })).code, 0);
  assert.deepEqual(await holdings(kernel), before);
  kernel.withoutModule('ipvs');
  assert.equal((await ravelAgent(['cleanup', ...common], { kernel })).code, 0);
});

test('cleanup: what fails keeps what depends on it, and nothing else', async () => {
  const kernel = freshKernel();
  const before = await holdings(kernel);
  const cleanup = () => ravelAgent(['cleanup', ...common], { kernel });
  assert.equal((await ravelAgent(['realserver', '--once', '--log-level=error', ...common], { kernel })).code, 0);
  kernel.faults.failNext({ op: 'nftables.commit', code: 'EPERM' });
  const rules = await cleanup();
  assert.equal(rules.code, 1);
  assert.match(rules.out, /- nftables +table ip ravel/, 'the list is printed all the same');
  assert.match(rules.err, /^nftables\.commit .*EPERM/m);
  assert.deepEqual(
    [...kernel.sysctls.values].filter(([key]) => key.endsWith('eth0/arp_ignore')).map(([, value]) => value),
    ['0'],
  );
  assert.equal((await cleanup()).code, 0);
  assert.deepEqual(await holdings(kernel), before);

  assert.equal((await ravelAgent(['director', '--once', '--log-level=error', ...common], { kernel })).code, 0);
  kernel.faults.failNext({ op: 'ipvs.deleteService', code: 'EPERM' });
  const kept = await cleanup();
  assert.equal(kept.code, 1);
  assert.match(kept.err, /the VIP addresses stay while IPVS services could not be removed/);
  assert.equal((await cleanup()).code, 0, 'the addresses still tell whose the services are');
  assert.deepEqual(await holdings(kernel), before);
});

test('status without IPVS: told beside the status, not instead of it', async () => {
  const kernel = freshKernel();
  kernel.withoutModule('ipvs');
  const { code, out, err } = await ravelAgent(['status', '--mode=director', '-o', 'json', ...common], { kernel });
  assert.equal(code, 0, err);
  assert.deepEqual(json(statusSchema, out)['vips'], []);
  assert.match(err, /not supported by this kernel; try: modprobe ip_vs/);
  kernel.faults.heal();
  kernel.denyEverything();
  assert.equal((await ravelAgent(['status', '--mode=director', ...common], { kernel })).code, 1, 'what cannot be read is an error');
});

/** A copy of what `check` reads below /. */
function machine(capabilities: string, kernel: FakeKernel, dummy: boolean): string {
  const root = temporaryDirectory('root');
  mkdirSync(join(root, 'proc/self'), { recursive: true });
  writeFileSync(join(root, 'proc/self/status'), `Name:\tnode\nCapEff:\t${capabilities}\n`);
  mkdirSync(join(root, 'proc/sys/kernel'), { recursive: true });
  writeFileSync(join(root, 'proc/sys/kernel/osrelease'), '6.1.0\n');
  for (const [key, value] of kernel.sysctls.values) {
    mkdirSync(join(root, 'proc/sys', key, '..'), { recursive: true });
    writeFileSync(join(root, 'proc/sys', key), `${value}\n`);
  }
  mkdirSync(join(root, 'lib/modules/6.1.0'), { recursive: true });
  writeFileSync(join(root, 'lib/modules/6.1.0/modules.dep'), dummy ? 'kernel/drivers/net/dummy.ko:\n' : '');
  cpSync(clusterFile, join(root, 'cluster.yaml'));
  return root;
}

test('check: a machine that can do the work', async () => {
  const kernel = freshKernel();
  kernel.sysctls.values.set('net/ipv4/ip_forward', '1');
  const root = machine('000001ffffffffff', kernel, true);
  for (const mode of modes) {
    const { code, out } = await ravelAgent(['check', `--mode=${mode}`, '--compute-iface=eth0', '-o', 'json'], { kernel, root });
    const { ok, findings } = checkSchema.parse(JSON.parse(out));
    assert.equal(code, 0, out);
    assert.ok(ok);
    assert.ok(findings.length >= 6);
  }
  assert.equal(kernel.writes, 0);
});

test('check: each thing that is wrong is named, with the command that mends it', async () => {
  const kernel = freshKernel();
  kernel.sysctls.values.set('net/ipv4/ip_forward', '0');
  kernel.sysctls.values.set('net/ipv4/conf/all/arp_ignore', '1');
  kernel.withoutModule('ipvs');
  kernel.links.changeLink('eth0', { up: false });
  const root = machine('0000000000000000', kernel, false);
  const { code, out } = await ravelAgent(['check', '--compute-iface=eth0', '-o', 'json'], { kernel, root });
  assert.equal(code, 1);
  const { ok, findings } = checkSchema.parse(JSON.parse(out));
  assert.equal(ok, false);
  const failed = new Map(findings.filter(({ level }) => level === 'fail').map((found) => [found.check, found.mend]));
  assert.match(failed.get('IPVS') ?? '', /modprobe ip_vs/);
  assert.match(failed.get('VIP device') ?? '', /modprobe dummy/);
  assert.equal(failed.get('interface'), 'ip link set eth0 up');
  assert.equal(failed.get('ip_forward'), 'sysctl -w net/ipv4/ip_forward=1');
  assert.match(failed.get('arp_ignore') ?? '', /sysctl -w net\/ipv4\/conf\/all\/arp_ignore=0/);
  assert.ok(failed.has('capability'));
  const text = await ravelAgent(['check', '--compute-iface=eth0'], { kernel, root });
  assert.match(text.out, /^fail {2}ip_forward .*\n +run: sysctl -w net\/ipv4\/ip_forward=1$/m);
  assert.doesNotMatch(text.out, /\u001b/);
  assert.match((await ravelAgent(['check', '--compute-iface=eth0'], { kernel, root, colour: true })).out, /\u001b\[31mfail/);
});

test('check: a file that is refused is one finding, and the others are there too', async () => {
  const kernel = freshKernel();
  const call = (file: string) => ravelAgent(['check', '--compute-iface=eth0', `--source-file=${file}`, '-o', 'json'], { kernel });
  const { code, out, err } = await call(broken);
  assert.equal(code, 1, err);
  const { findings } = checkSchema.parse(JSON.parse(out));
  const [refused] = findings.filter(({ check }) => check === 'cluster file');
  assert.equal(refused?.level, 'fail');
  assert.match(refused.message, /broken\.yaml:1: config\.nonsense: .*\(and 1 more\)$/);
  assert.equal(refused.mend, `ravel-agent validate ${broken}`);
  assert.ok(findings.some(({ check }) => check === 'interface'));
  const missing = checkSchema.parse(JSON.parse((await call('/nowhere.yaml')).out)).findings[0];
  assert.equal(missing?.message, '/nowhere.yaml: no such file');
  const valid = checkSchema.parse(JSON.parse((await call(clusterFile)).out)).findings[0];
  assert.deepEqual([valid?.level, valid?.message], ['ok', `${clusterFile} is valid, 1 VIPs`]);
});

test('check: without the capability no module is blamed', async () => {
  const kernel = freshKernel();
  const root = machine('0000000000000000', kernel, true);
  kernel.faults.failNext({ op: 'nftables.*', code: 'EPERM', times: Infinity });
  const { out } = await ravelAgent(['check', '--mode=realserver', '--compute-iface=eth0', '-o', 'json'], { kernel, root });
  const failed = checkSchema.parse(JSON.parse(out)).findings.filter(({ level }) => level === 'fail');
  assert.match(failed.find(({ check }) => check === 'capability')?.mend ?? '', /^sudo ravel-agent/);
  assert.equal(failed.find(({ check }) => check === 'NAT backend')?.mend, null);
});

test('version, in both forms', async () => {
  assert.match((await ravelAgent(['version'])).out, /^ravel-agent \d+\.\d+\.\d+ /);
  json(versionSchema, (await ravelAgent(['version', '-o', 'json'])).out);
});

test('a dead flag is one warning, not an error', async () => {
  const kernel = freshKernel();
  const { code } = await ravelAgent(['plan', '--mode=director', '--stats-port=10254', '--forced-reconfigure', ...common], { kernel });
  assert.equal(code, 2);
});
