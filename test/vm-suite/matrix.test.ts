/**
 * Packets through every way that an agent can forward them: {IPv4, IPv6} x {TCP, UDP} x {direct, tunnel, masquerade} x
 * {nftables, iptables}, and SCTP, GUE, GRE and clients that stay themselves with masquerading beside it. A director and two realservers
 * are configured by one file; three pods, two of them on one node. Each cell: everything is answered, each pod gets its
 * third, and pods see the client's address or, where it is replaced, the director's. Prints the table.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { endAgents, startAgents } from '../lab/agents.ts';
import type { LabAgent } from '../lab/agent.ts';
import { unevenness } from '../lab/balance.ts';
import { LabCluster } from '../lab/cluster.ts';
import { run } from '../lab/namespace.ts';
import { addresses, addresses6, forward, Topology } from '../lab/topology.ts';
import { echoPod, TrafficClient, type Answers, type Protocol } from '../lab/traffic.ts';
import { waitFor } from '../lab/wait.ts';

const MODULES = ['fou', 'fou6', 'ip_tables', 'ip6_tables', 'iptable_nat', 'ip6table_nat'];
const COUNT = 300;
/** For all shares of a whole run together one in a million; there are fewer than a hundred cells. */
const FALSE_ALARM = 1e-8;

interface Way {
  readonly name: string;
  readonly v4: string;
  readonly v6?: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly protocols: readonly Protocol[];
  /** Whose address pods are to see. */
  readonly seen: 'client' | 'director';
  /** Replies are routed through the director by whoever runs the network. */
  readonly replyRoute?: true;
}

const v6 = (number: number): string => `2001:db8:20::${number}`;
const ways: readonly Way[] = [
  { name: 'direct', v4: '10.20.0.100', v6: v6(100), options: {}, protocols: ['tcp', 'udp', 'sctp'], seen: 'client' },
  { name: 'tunnel', v4: '10.20.0.101', v6: v6(101), options: { forwardingMethod: 'i' }, protocols: ['tcp', 'udp'], seen: 'client' },
  {
    ...{ name: 'masquerade', v4: '10.20.0.102', v6: v6(102), options: { forwardingMethod: 'masquerade' } },
    ...({ protocols: ['tcp', 'udp'], seen: 'director' } as const),
  },
  {
    ...{ name: 'masquerade, own source', v4: '10.20.0.103', v6: v6(103) },
    options: { forwardingMethod: 'masquerade', masqueradeSource: false },
    ...({ protocols: ['tcp', 'udp'], seen: 'client', replyRoute: true } as const),
  },
  {
    ...{ name: 'tunnel, GUE', v4: '10.20.0.104', v6: v6(104), options: { forwardingMethod: 'tunnel', tunnelType: 'gue' } },
    ...({ protocols: ['tcp', 'udp'], seen: 'client' } as const),
  },
  {
    ...{ name: 'tunnel, GRE', v4: '10.20.0.105', v6: v6(105), options: { forwardingMethod: 'tunnel', tunnelType: 'gre' } },
    ...({ protocols: ['tcp', 'udp'], seen: 'client' } as const),
  },
];

let topology: Topology;
let cluster: LabCluster;
let client: TrafficClient;
const rows: string[][] = [];

before(async () => {
  // What the kernel does not load by itself; whoever runs a machine does (docs/dataplane.md).
  await run(['modprobe', '-a', ...MODULES]);
  topology = await Topology.create(echoPod);
  for (const [pod, node] of [['web-1', 'n1'] as const, ['web-2', 'n1'] as const, ['web-3', 'n2'] as const])
    await topology.addPod(pod, node);
  // New interfaces are strict, as on many distributions: the agent has to see to its tunnels.
  await topology.hosts.n2.run(['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/conf/default/rp_filter']);
  await forward(topology.hosts.director);
  cluster = new LabCluster(topology);
  for (const { v4, v6, options, protocols } of ways) {
    for (const vip of v6 === undefined ? [v4] : [v4, v6]) {
      cluster.vips[vip] = { 80: { options, udpEnabled: true, sctpEnabled: protocols.includes('sctp') } };
    }
  }
  cluster.write();
  client = new TrafficClient(topology.hosts.client);
});

after(async () => {
  await client.close();
  await topology.close();
});

/** What is wrong with the answers; undefined when nothing is. */
function fault(answers: Answers, seen: string): string | undefined {
  const { ok, failed, wrong, errors, clients, pods } = answers;
  if (ok !== COUNT || failed > 0 || wrong > 0) return `${ok} of ${COUNT} answered, ${wrong} wrong: ${JSON.stringify(errors)}`;
  if (Object.keys(clients).join() !== seen) return `pods saw ${Object.keys(clients).join()}, not ${seen}`;
  return unevenness(pods, { 'web-1': 1 / 3, 'web-2': 1 / 3, 'web-3': 1 / 3 }, FALSE_ALARM);
}

async function routeReplies(way: Way, verb: 'add' | 'del'): Promise<void> {
  if (way.replyRoute === undefined) return;
  for (const node of ['n1', 'n2'] as const) {
    await topology.hosts[node].ip(
      `route ${verb} ${addresses.client}/32 via ${addresses.director}`,
      `route ${verb} ${addresses6.client}/128 via ${addresses6.director}`,
    );
  }
}

for (const backend of ['nftables', 'iptables'] as const) {
  void describe(backend, () => {
    let agents: LabAgent[] = [];

    before(async () => {
      const extra = [`--nat-backend=${backend}`, '--handover-delay=0s'];
      const { director, n1, n2 } = topology.hosts;
      agents = await startAgents(cluster.path, [
        { namespace: n1, mode: 'realserver', extra },
        { namespace: n2, mode: 'realserver', extra },
        { namespace: director, mode: 'director', extra },
      ]);
      await waitFor('every VIP to be announced', async () => {
        const document = await agents[2]?.document();
        const silent = document?.vips.filter(({ announced }) => announced !== true);
        if (silent?.length === 0) return true;
        throw new Error(JSON.stringify([silent, document?.reasons, document?.failures, document?.warnings]));
      });
    });

    after(async () => {
      await endAgents(agents);
    });

    for (const way of ways) {
      for (const vip of way.v6 === undefined ? [way.v4] : [way.v4, way.v6]) {
        for (const protocol of way.protocols) {
          const family = vip.includes(':') ? 'IPv6' : 'IPv4';
          test(`${family} ${protocol} ${way.name} ${backend}`, async () => {
            await routeReplies(way, 'add');
            const answers = await client.ask(protocol, vip, 80, { count: COUNT });
            await routeReplies(way, 'del');
            const seen = (family === 'IPv4' ? addresses : addresses6)[way.seen];
            const wrong = fault(answers, seen);
            const shares = ['web-1', 'web-2', 'web-3'].map((pod) => answers.pods[pod] ?? 0).join(' ');
            rows.push([
              family,
              protocol.toUpperCase(),
              way.name,
              backend,
              `${answers.ok}`,
              shares,
              way.seen,
              wrong === undefined ? 'ok' : 'WRONG',
            ]);
            assert.equal(wrong, undefined);
          });
        }
      }
    }
  });
}

test('the matrix, printed', (context) => {
  const head = ['family', 'protocol', 'method', 'backend', 'answers', 'by pod', 'pods see', ''];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd();
  const text = [line(head), ...rows.map(line)];
  context.diagnostic(`note: packets through every method\n${text.map((each) => `    ${each}`).join('\n')}`);
  assert.equal(rows.length, 2 * ways.flatMap(({ v6, protocols }) => (v6 === undefined ? protocols : [...protocols, ...protocols])).length);
});
