/** What `check` says about the data plane of a configuration, before an agent runs into it. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkSchema, type Finding } from '../../src/cli/check.ts';
import type { FakeKernel } from '../fake-kernel/kernel.ts';
import { freshKernel } from '../fake-kernel/rig.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { ravelAgent } from './cli.ts';

const folder = temporaryDirectory('check');

function clusterFile(name: string, options: string, more = ''): string {
  const path = join(folder, name);
  writeFileSync(
    path,
    `
nodes:
  - { name: n1, addresses: [10.20.0.11, "2001:db8:20::11"] }
  - { name: n2, addresses: [10.20.0.12, "2001:db8:20::12"] }
  - { name: n3, addresses: [10.20.0.13] }
services:
  - { name: web, ports: [{ port: 80 }], endpoints: [{ address: 10.244.1.2, port: 8080, node: n1 }] }
config:
  10.20.0.100:
    80: { service: web, ipvsOptions: { ${options} } }
${more}`,
  );
  return path;
}
const direct = clusterFile('direct.yaml', 'forwardingMethod: g');
const tunnel = clusterFile('tunnel.yaml', 'forwardingMethod: i');
const gue = clusterFile('gue.yaml', 'forwardingMethod: i, tunnelType: gue');
const masquerade = clusterFile('masquerade.yaml', 'forwardingMethod: m');
const dual = clusterFile('dual.yaml', 'forwardingMethod: g', 'config6:\n  "2001:db8:77::10":\n    80: { service: web }\n');

/** A copy of what is read below /. */
function rootWith(kernel: FakeKernel, modules: readonly string[]): string {
  const root = temporaryDirectory('check-root');
  const put = (path: string, text: string): void => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  put('proc/self/status', 'CapEff:\t000001ffffffffff\n');
  put('proc/sys/kernel/osrelease', '6.1.0\n');
  put('lib/modules/6.1.0/modules.dep', modules.map((name) => `kernel/net/${name}.ko:\n`).join(''));
  for (const [key, value] of kernel.sysctls.values) put(join('proc/sys', key), `${value}\n`);
  return root;
}

function readyKernel(): FakeKernel {
  const kernel = freshKernel();
  const { values } = kernel.sysctls;
  values.set('net/ipv4/ip_forward', '1').set('net/ipv6/conf/all/forwarding', '1').set('net/ipv6/conf/eth0/disable_ipv6', '0');
  values.set('net/ipv4/vs/conntrack', '0').set('net/ipv4/vs/expire_nodest_conn', '0');
  return kernel;
}

interface Run {
  readonly kernel?: FakeKernel;
  readonly modules?: readonly string[];
  readonly prepare?: (root: string) => void;
}

async function check(
  args: readonly string[],
  { kernel = readyKernel(), modules = ['dummy', 'ipip'], prepare }: Run = {},
): Promise<Finding[]> {
  const root = rootWith(kernel, modules);
  prepare?.(root);
  const { out, err } = await ravelAgent(['check', '--compute-iface=eth0', '--nodename=n1', '-o', 'json', ...args], { kernel, root });
  assert.equal(kernel.writes, 0, 'check changes nothing');
  return checkSchema.parse(JSON.parse(out === '' ? err : out)).findings;
}

/** `level message` of those with that name. */
const of = (findings: readonly Finding[], name: string): string[] =>
  findings.filter((found) => found.check === name).map(({ level, message }) => `${level} ${message}`);

test('which backend it would be, and why', async () => {
  assert.deepEqual(of(await check(['--mode=realserver']), 'NAT backend'), ['ok nftables: this kernel has nf_tables']);
  const kernel = readyKernel();
  kernel.withoutModule('nftables');
  const [chosen, limits] = of(await check(['--mode=realserver'], { kernel }), 'NAT backend');
  assert.match(chosen ?? '', /^ok iptables: no nftables here \(/);
  assert.match(limits ?? '', /^warn iptables: clients inside the cluster reach pods of their own node only/);
  assert.deepEqual(of(await check(['--mode=director', `--source-file=${direct}`]), 'NAT backend'), [], 'a director needs none');
});

test('the lock of legacy iptables: missing is a word, a directory a fault, and nftables needs none', async () => {
  const args = ['--mode=realserver', '--nat-backend=iptables'];
  assert.match(of(await check(args), 'xtables lock').join(), /^warn .* it must be the host's$/);
  const there = (root: string): void => {
    mkdirSync(join(root, 'run'));
    writeFileSync(join(root, 'run/xtables.lock'), '');
  };
  assert.deepEqual(of(await check(args, { prepare: there }), 'xtables lock'), ['ok /run/xtables.lock is there']);
  const folderThere = (root: string): void => void mkdirSync(join(root, 'run/xtables.lock'), { recursive: true });
  assert.match(of(await check(args, { prepare: folderThere }), 'xtables lock').join(), /^fail .* is a directory/);
  assert.deepEqual(of(await check(['--mode=realserver']), 'xtables lock'), []);
});

test('tunnels: the devices and ports that the configuration needs, and no others', async () => {
  const args = (file: string): string[] => ['--mode=realserver', `--source-file=${file}`];
  assert.deepEqual(of(await check(args(direct)), 'tunnel'), []);
  assert.deepEqual(of(await check(args(tunnel)), 'tunnel'), ['ok tunl0 will be made']);
  const without = await check(args(tunnel), { modules: ['dummy'] });
  assert.deepEqual(of(without, 'tunnel'), ['fail tunl0 is not there, and this kernel seems to have no module ipip']);
  assert.equal(without.find((found) => found.check === 'tunnel')?.mend, 'modprobe ipip');
  const kernel = readyKernel();
  kernel.links.addLink({ name: 'tunl0', kind: 'ipip', mac: '', mtu: 1480, up: true, running: true, noArp: true });
  kernel.sysctls.values.set('net/ipv4/conf/tunl0/rp_filter', '1');
  const present = await check(args(tunnel), { kernel });
  assert.deepEqual(of(present, 'tunnel'), ['ok tunl0 is up']);
  assert.match(of(present, 'rp_filter').join(), /tunl0: 1 in effect; the agent sets 0/);
  assert.deepEqual(of(await check(args(gue)), 'GUE'), ['ok UDP port 6080 (ipv4) will be opened']);
  const unable = readyKernel();
  unable.faults.failNext({ op: 'fou.list', code: 'EPERM' });
  assert.match(of(await check(args(gue), { kernel: unable }), 'GUE').join(), /^fail /);
});

test('forwarding is asked of IPv6 where there are IPv6 VIPs', async () => {
  const kernel = readyKernel();
  kernel.sysctls.values.set('net/ipv6/conf/all/forwarding', '0');
  const args = ['--mode=realserver'];
  assert.deepEqual(of(await check([...args, `--source-file=${direct}`], { kernel }), 'ipv6 forwarding'), []);
  const findings = await check([...args, `--source-file=${dual}`], { kernel });
  assert.deepEqual(of(findings, 'ipv6 forwarding'), ['fail 0: packets do not reach the pods']);
  assert.equal(findings.find(({ level }) => level === 'fail')?.mend, 'sysctl -w net/ipv6/conf/all/forwarding=1');
});

test('a director: whether full packets reach every node, through the tunnel around them', async () => {
  const kernel = readyKernel();
  const way = { interfaceIndex: 2, gateway: undefined, source: undefined };
  kernel.links.setRouteTo('10.20.0.12', { ...way, mtu: 1500 });
  kernel.links.setRouteTo('10.20.0.13', { ...way, mtu: 1600 });
  const args = (file: string): string[] => ['--mode=director', `--source-file=${file}`];
  assert.deepEqual(of(await check(args(direct), { kernel }), 'path MTU'), ['ok 2 ways to nodes take full packets']);
  assert.deepEqual(of(await check(args(tunnel), { kernel }), 'path MTU'), [
    'warn n2 (10.20.0.12): 1500 bytes, and full packets for 10.20.0.100 are 1520 with the tunnel: larger segments are cut or refused',
  ]);
  const lost = await check(args(direct), {});
  assert.match(of(lost, 'way to node').join(), /^warn n2: .*ENETUNREACH.*,warn n3: /);
});

test('a director that serves its own pods: conntrack, forwarding, no muted ARP', async () => {
  const findings = await check(['--mode=director,realserver', `--source-file=${direct}`]);
  assert.match(of(findings, 'conntrack').join(), /^warn 0 in effect; the agent sets 1/);
  assert.deepEqual(of(findings, 'NAT backend'), ['ok nftables: this kernel has nf_tables']);
  assert.deepEqual(of(findings, 'ip_forward'), ['ok 1: packets reach the pods']);
  assert.deepEqual(of(findings, 'arp_ignore'), ['ok 0 on eth0: this host answers ARP for its VIPs']);
  assert.deepEqual(of(findings, 'arp_announce'), [], 'that is for realservers alone');
  const masquerading = await check(['--mode=director', `--source-file=${masquerade}`]);
  assert.match(of(masquerading, 'conntrack').join(), /the agent sets 1/);
  assert.deepEqual(of(await check(['--mode=director', `--source-file=${direct}`]), 'conntrack'), []);
});

test('a director of IPv6 VIPs needs IPv6 on its interface', async () => {
  const kernel = readyKernel();
  const args = ['--mode=director', `--source-file=${dual}`];
  assert.match(of(await check(args, { kernel }), 'IPv6').join(), /^ok enabled on eth0/);
  kernel.sysctls.values.set('net/ipv6/conf/eth0/disable_ipv6', '1');
  assert.match(of(await check(args, { kernel }), 'IPv6').join(), /^fail disabled on eth0/);
  assert.deepEqual(of(await check(['--mode=director', `--source-file=${direct}`], { kernel }), 'IPv6'), []);
});

test('settings asked for by name are looked up', async () => {
  const findings = await check(['--mode=director', '--ipvs-sysctl=conntrack=1,expire_nodest_con=1']);
  assert.deepEqual(of(findings, '--ipvs-sysctl'), [
    'ok conntrack is there',
    'warn this kernel has no net/ipv4/vs/expire_nodest_con, did you mean "expire_nodest_conn"?',
  ]);
});

test("an announced VIP of ours on the interface is not somebody else's", async () => {
  const kernel = readyKernel();
  const [, eth0] = await kernel.links.links();
  assert.equal(eth0?.name, 'eth0');
  const { applied } = await kernel.links.apply([
    { op: 'addAddress', interface: 'eth0', address: '2001:db8:77::10', prefix: 128, protocol: 82 },
    { op: 'addAddress', interface: 'eth0', address: '10.20.0.100', prefix: 32 },
  ]);
  assert.equal(applied, 2);
  kernel.journal.clear();
  const args = ['--mode=director', `--source-file=${dual}`];
  assert.deepEqual(of(await check(args, { kernel }), 'VIP elsewhere'), ['warn 10.20.0.100 is also on eth0, and not ours there']);
});
