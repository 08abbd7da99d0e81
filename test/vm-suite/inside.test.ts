/**
 * Clients inside of the cluster: a pod beside the backends, a pod on a node without one, a node with and one without
 * backends, a backend that calls its own VIP, a director that serves pods. All backends are on n1. What cannot reach a VIP
 * is refused by design, and that is held to as well.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { LabAgent } from '../lab/agent.ts';
import { endAgents, startAgents, type AgentPlace } from '../lab/agents.ts';
import { unevenness } from '../lab/balance.ts';
import { LabCluster } from '../lab/cluster.ts';
import { run, type Namespace } from '../lab/namespace.ts';
import { Topology } from '../lab/topology.ts';
import { echoPod, TrafficClient, type Answers } from '../lab/traffic.ts';
import { waitFor } from '../lab/wait.ts';

const COUNT = 60;
/** All shares of a run together cry wolf once in a million runs; there are fewer than a hundred. */
const FALSE_ALARM = 1e-8;

const vips = {
  direct: { IPv4: '10.20.0.100', IPv6: '2001:db8:20::100' },
  tunnel: { IPv4: '10.20.0.101', IPv6: '2001:db8:20::101' },
} as const;
const callers = ['pod beside', 'pod elsewhere', 'node with', 'node without', 'backend', 'director', 'outside'] as const;
type Caller = (typeof callers)[number];

let topology: Topology;
let cluster: LabCluster;
const clients = new Map<Caller, TrafficClient>();
const rows: string[][] = [];

before(async () => {
  // The kernel does not load legacy iptables by itself.
  await run(['modprobe', '-a', 'ip_tables', 'ip6_tables', 'iptable_nat', 'ip6table_nat']);
  topology = await Topology.create(echoPod);
  for (const pod of ['web-1', 'web-2']) await topology.addPod(pod, 'n1');
  const places: Record<Caller, Namespace> = {
    'pod beside': await topology.placePod('caller-1', 'n1'),
    'pod elsewhere': await topology.placePod('caller-2', 'n2'),
    'node with': topology.hosts.n1,
    'node without': topology.hosts.n2,
    backend: topology.pods.get('web-1')!.namespace,
    director: topology.hosts.director,
    outside: topology.hosts.client,
  };
  for (const caller of callers) clients.set(caller, new TrafficClient(places[caller]));
  cluster = new LabCluster(topology);
  for (const [forwardingMethod, addresses] of Object.entries(vips)) {
    for (const vip of Object.values(addresses)) cluster.vips[vip] = { 80: { options: { forwardingMethod }, udpEnabled: true } };
  }
  cluster.write();
});

after(async () => {
  for (const client of clients.values()) await client.close();
  await topology.close();
});

function fault({ ok, failed, wrong, errors, pods }: Answers): string | undefined {
  if (ok !== COUNT || failed > 0 || wrong > 0) return `${ok} of ${COUNT} answered: ${JSON.stringify(errors)}`;
  return unevenness(pods, { 'web-1': 1 / 2, 'web-2': 1 / 2 }, FALSE_ALARM);
}

const scenes: readonly { name: string; director: AgentPlace['mode']; flags: readonly string[]; refused: readonly Caller[] }[] = [
  { name: 'nftables', director: 'director,realserver', flags: ['--nat-backend=nftables'], refused: [] },
  {
    // Its rules know pods of their own machine only.
    ...{ name: 'iptables', director: 'director,realserver', flags: ['--nat-backend=iptables'] },
    refused: ['pod elsewhere', 'node without', 'director'],
  },
  {
    // What a plain director sends to a VIP has the VIP as its source, and no node takes that from outside.
    ...{ name: 'local access', director: 'director', flags: ['--nat-backend=nftables', '--inside-access=local'] },
    refused: ['pod elsewhere', 'node without', 'director'],
  },
];

for (const { name, director, flags, refused } of scenes) {
  void describe(name, () => {
    let agents: LabAgent[] = [];

    before(async () => {
      const extra = [...flags, '--handover-delay=0s'];
      agents = await startAgents(cluster.path, [
        { namespace: topology.hosts.n1, mode: 'realserver', extra },
        { namespace: topology.hosts.n2, mode: 'realserver', extra },
        { namespace: topology.hosts.director, mode: director, extra },
      ]);
      await waitFor('every VIP to be announced', async () =>
        (await agents[2]?.document())?.vips.every(({ announced }) => announced === true),
      );
    });

    after(async () => {
      await endAgents(agents);
    });

    for (const caller of callers) {
      const isRefused = refused.includes(caller);
      test(`${name}: ${caller} ${isRefused ? 'is refused' : 'reaches every VIP'}`, async () => {
        const wrong: string[] = [];
        const seen = new Set<string>();
        for (const [method, families] of Object.entries(vips)) {
          for (const [family, vip] of Object.entries(families)) {
            for (const protocol of ['tcp', 'udp'] as const) {
              const question = isRefused ? { count: 2, limitMs: 700 } : { count: COUNT };
              const answers = await clients.get(caller)!.ask(protocol, vip, 80, question);
              const found = isRefused ? (answers.ok === 0 ? undefined : `${answers.ok} answered`) : fault(answers);
              if (found !== undefined) wrong.push(`${family} ${protocol} ${method}: ${found}`);
              for (const each of Object.keys(isRefused ? answers.errors : answers.clients)) seen.add(each);
            }
          }
        }
        const what = wrong.length > 0 ? wrong.join('; ') : isRefused ? 'refused:' : 'reached, seen as';
        rows.push([name, caller, `${what} ${[...seen].sort().join(' ')}`]);
        assert.deepEqual(wrong, []);
      });
    }
  });
}

test('clients inside, printed', (context) => {
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
  context.diagnostic(
    `note: clients inside of the cluster, each by direct routing and tunnel, IPv4 and IPv6, TCP and UDP\n${lines.map((line) => `    ${line}`).join('\n')}`,
  );
});
