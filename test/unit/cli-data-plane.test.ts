/** Every feature of the data plane through the command line: planned, made, nothing left to plan, and taken away without a trace. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { cleanupSchema } from '../../src/cli/cleanup.ts';
import { planSchema } from '../../src/cli/plan.ts';
import { statusSchema } from '../../src/cli/status-schema.ts';
import type { FakeKernel } from '../fake-kernel/kernel.ts';
import { freshKernel, holdings } from '../fake-kernel/rig.ts';
import { ipvsDefaults } from '../../src/desired/ipvs-sysctls.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { ravelAgent } from './cli.ts';

const folder = temporaryDirectory('data-plane');
const clusterFile = join(folder, 'cluster.yaml');
writeFileSync(
  clusterFile,
  `
nodes:
  - { name: n1, addresses: [10.20.0.11, "2001:db8:20::11"] }
  - { name: n2, addresses: [10.20.0.12, "2001:db8:20::12"] }
services:
  - namespace: shop
    name: web
    ports: [{ name: http, port: 80 }]
    endpoints:
      - { address: 10.244.1.2, port: 8080, portName: http, node: n1 }
      - { address: 10.244.2.2, port: 8080, portName: http, node: n2 }
      - { address: 10.244.2.3, port: 8080, portName: http, node: n2 }
      - { address: "2001:db8:44:1::2", port: 8080, portName: http, node: n1 }
      - { address: "2001:db8:44:2::2", port: 8080, portName: http, node: n2 }
mtuConfig: { 10.20.0.100: 1500 }
config:
  10.20.0.100:
    80: { namespace: shop, service: web, portName: http, udpEnabled: true, ipvsOptions: { persistenceSeconds: 60 } }
    81: { namespace: shop, service: web, portName: http, ipvsOptions: { forwardingMethod: i } }
    82: { namespace: shop, service: web, portName: http, ipvsOptions: { forwardingMethod: i, tunnelType: gue } }
    83: { namespace: shop, service: web, portName: http, ipvsOptions: { forwardingMethod: m } }
config6:
  "2001:db8:77::10":
    80: { namespace: shop, service: web, portName: http }
    81: { namespace: shop, service: web, portName: http, ipvsOptions: { forwardingMethod: tunnel } }
`,
);

/** Tables that the kernel keeps once somebody has used them are no trace. */
async function traces(kernel: FakeKernel): Promise<unknown> {
  const { iptables, ...rest } = (await holdings(kernel)) as { iptables: Record<string, Record<string, readonly unknown[]>> };
  const chains = Object.entries(iptables).map(([family, table]) => [family, Object.entries(table).filter(([, rules]) => rules.length > 0)]);
  const links = (await kernel.links.links()).map(({ name, up }) => ({ name, up }));
  return { ...rest, links, iptables: Object.fromEntries(chains) as unknown };
}

let machines = 0;

/** A machine with a folder of its own for what is remembered. */
function machine(): { kernel: FakeKernel; common: readonly string[] } {
  const kernel = freshKernel();
  for (const { name } of [...ipvsDefaults, { name: 'conntrack' }]) kernel.sysctls.values.set(`net/ipv4/vs/${name}`, '5');
  // The kernel's own devices, which come with their modules and go with them.
  for (const [device, kind] of Object.entries({ tunl0: 'ipip', ip6tnl0: 'ip6tnl' })) {
    kernel.links.addLink({ name: device, kind, mac: '', mtu: 1480, up: false, running: false, noArp: true });
    for (const name of ['rp_filter', 'arp_ignore', 'arp_announce']) kernel.sysctls.values.set(`net/ipv4/conf/${device}/${name}`, '1');
  }
  machines += 1;
  const state = `--state-dir=${join(folder, String(machines))}`;
  return { kernel, common: ['--compute-iface=eth0', `--source-file=${clusterFile}`, '--nodename=n1', '--coordinator-port=0', state] };
}

for (const backend of ['nftables', 'iptables'] as const) {
  for (const mode of ['director', 'realserver', 'director,realserver'] as const) {
    test(`${mode} with ${backend}: planned, made, nothing more to do, and no trace after cleanup`, async () => {
      const { kernel, common } = machine();
      const before = await traces(kernel);
      const flags = [`--mode=${mode}`, `--nat-backend=${backend}`, ...common];

      const plan = await ravelAgent(['plan', '-o', 'json', ...flags], { kernel });
      assert.equal(plan.code, 2, plan.err);
      const planned = planSchema.parse(JSON.parse(plan.out));
      assert.equal(planned.mode, mode);
      const kinds = new Set(planned.changes.map(({ kind }) => kind));
      assert.equal(kinds.has(backend), true, plan.out);
      assert.equal(kinds.has(backend === 'nftables' ? 'iptables' : 'nftables'), false, plan.out);
      assert.equal(kinds.has('ipvs'), mode !== 'realserver');
      assert.deepEqual(await traces(kernel), before, 'plan writes nothing');

      const once = await ravelAgent(['--once', '--log-level=error', ...flags], { kernel });
      assert.equal(once.code, 0, once.err);
      const again = await ravelAgent(['plan', ...flags], { kernel });
      assert.equal(again.code, 0, again.out + again.err);
      kernel.journal.clear();
      assert.equal((await ravelAgent(['--once', '--log-level=error', ...flags], { kernel })).code, 0);
      assert.equal(kernel.writes, 0);

      const printed = await ravelAgent(['status', '-o', 'json', '--sample=0', ...common.slice(-1)], { kernel });
      const status = statusSchema.parse(JSON.parse(printed.out));
      assert.equal(status.mode, mode === 'realserver' ? 'realserver' : 'director', 'seen from what is there');
      const services = new Map(status.vips.flatMap((vip) => vip.services.map((service) => [service.key, service])));
      const { local, destinations } = services.get('tcp 10.20.0.100:80') ?? assert.fail(printed.out);
      const pods = [{ address: '10.244.1.2', port: 8080 }];
      assert.deepEqual(local, mode === 'director,realserver' ? { shares: 3, pods } : null);
      if (mode === 'realserver')
        assert.deepEqual(
          destinations.map(({ address }) => address),
          ['10.244.1.2'],
        );
      else
        assert.deepEqual(
          destinations.map(({ address }) => address),
          ['10.20.0.12'],
          'its own node is none',
        );

      const rehearsal = await ravelAgent(['cleanup', '--dry-run', '-o', 'json', ...common.slice(-1)], { kernel });
      const cleaned = await ravelAgent(['cleanup', '-o', 'json', ...common.slice(-1)], { kernel });
      assert.equal(cleaned.code, 0, cleaned.err + cleaned.out);
      assert.deepEqual(cleanupSchema.parse(JSON.parse(cleaned.out)).changes, cleanupSchema.parse(JSON.parse(rehearsal.out)).changes);
      assert.deepEqual(await traces(kernel), before);
    });
  }
}
