/**
 * A director that runs pods itself. Combined on n1, with three of the four pods: each pod gets a quarter, whoever
 * translates. Then director and realserver as two processes on n1: only one of them translates at a time.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { conntrackEntryAt } from '../../src/native/conntrack-columns.ts';
import type { ConntrackEntry } from '../../src/native/conntrack-types.ts';
import { Conntrack } from '../../src/native/conntrack.ts';
import { Netns } from '../../src/native/netns.ts';
import { LabAgent } from '../lab/agent.ts';
import { endAgents, startAgents } from '../lab/agents.ts';
import { unevenness } from '../lab/balance.ts';
import { LabCluster } from '../lab/cluster.ts';
import { KeptClient, type KeptAnswers } from '../lab/kept.ts';
import { run } from '../lab/namespace.ts';
import { Topology } from '../lab/topology.ts';
import { echoPod, TrafficClient } from '../lab/traffic.ts';
import { waitFor } from '../lab/wait.ts';

const COUNT = 400;
/** All shares of a run together cry wolf once in a million runs; there are fewer than a hundred. */
const FALSE_ALARM = 1e-8;
/** Sockets to each VIP that are kept. */
const EACH = 40;
const vips = ['10.20.0.100', '2001:db8:20::100'] as const;

let topology: Topology;
let cluster: LabCluster;
let client: TrafficClient;
let agents: LabAgent[] = [];
let netns: Netns;
let conntrack: Conntrack;
const rows: string[] = [];

before(async () => {
  // The kernel does not load legacy iptables by itself.
  await run(['modprobe', '-a', 'ip_tables', 'ip6_tables', 'iptable_nat', 'ip6table_nat']);
  topology = await Topology.create(echoPod);
  for (const pod of ['web-1', 'web-2', 'web-3']) await topology.addPod(pod, 'n1');
  await topology.addPod('web-4', 'n2');
  cluster = new LabCluster(topology);
  for (const vip of vips) cluster.vips[vip] = { 80: { udpEnabled: true } };
  cluster.write();
  client = new TrafficClient(topology.hosts.client);
  netns = await Netns.fromPath('/run/netns/n1');
  conntrack = await Conntrack.open({ netns });
});

after(async () => {
  await conntrack.close();
  await netns.close();
  await client.close();
  await topology.close();
});

const evenly = (...pods: readonly string[]): Record<string, number> => Object.fromEntries(pods.map((pod) => [pod, 1 / pods.length]));

/**
 * Ports that no client of the scene before had: connection tracking on the director remembers for two minutes what was
 * decided for a connection of which it saw one direction only.
 */
let scene = 0;
async function freshPorts(): Promise<void> {
  const first = 2000 + 4500 * scene++;
  assert.ok(first + 4499 <= 65_535, 'ports are left');
  await topology.hosts.client.run(['sh', '-c', `echo ${first} ${first + 4499} >/proc/sys/net/ipv4/ip_local_port_range`]);
}

/** Waits until exactly these pods answer, and judges their shares then. */
async function shares(title: string, wanted: Readonly<Record<string, number>>): Promise<void> {
  await freshPorts();
  for (const vip of vips) {
    for (const protocol of ['tcp', 'udp'] as const) {
      await waitFor(`${title}: ${Object.keys(wanted).join(', ')} to answer, and nobody else`, async () => {
        const { ok, pods } = await client.ask(protocol, vip, 80, { count: 40, limitMs: 1000 });
        return ok === 40 && Object.keys(pods).sort().join() === Object.keys(wanted).sort().join();
      });
      const { ok, errors, pods, clients } = await client.ask(protocol, vip, 80, { count: COUNT });
      rows.push(`${title}, ${vip} ${protocol}: ${['web-1', 'web-2', 'web-3', 'web-4'].map((pod) => pods[pod] ?? 0).join(' ')}`);
      assert.deepEqual([ok, errors], [COUNT, {}]);
      assert.equal(unevenness(pods, wanted, FALSE_ALARM), undefined, title);
      assert.equal(Object.keys(clients).length, 1, 'the client stays itself');
    }
  }
}

/** What the director knows of connections to the VIPs, by VIP and port of the client. */
async function tracked(protocol: 'tcp' | 'udp'): Promise<ReadonlyMap<string, ConntrackEntry>> {
  const columns = await conntrack.entries({ protocol, destinations: vips.map((address) => ({ address, port: 80 })) });
  const entries = Array.from({ length: columns.count }, (_, row) => conntrackEntryAt(columns, row));
  return new Map(entries.map((entry) => [`${entry.original.destination.address} ${entry.original.source.port}`, entry]));
}

/** On the director, for what it learns of from now on; seconds by the end of the setting's name. */
async function timeouts(seconds: Readonly<Record<string, number>>): Promise<void> {
  const lines = Object.entries(seconds).map(([name, value]) => `echo ${value} >/proc/sys/net/netfilter/nf_conntrack_${name}`);
  await topology.hosts.n1.run(['sh', '-c', lines.join(' && ')]);
}

/** Sockets to port 80 of all VIPs. */
class KeptSockets {
  readonly #clients: readonly KeptClient[];

  private constructor(clients: readonly KeptClient[]) {
    this.#clients = clients;
  }

  static async open(protocol: 'tcp' | 'udp', each: number): Promise<KeptSockets> {
    await freshPorts();
    return new KeptSockets(
      await Promise.all(vips.map((vip) => KeptClient.open(topology.hosts.client, protocol, vip, 80, { count: each }))),
    );
  }

  /** Who answers, by VIP and port of the client. */
  async ask(): Promise<ReadonlyMap<string, string>> {
    const answers = await Promise.all(this.#clients.map((kept) => kept.ask()));
    const named = (vip: string, ports: KeptAnswers): [string, string][] => [...ports].map(([port, who]) => [`${vip} ${port}`, who]);
    return new Map(vips.flatMap((vip, index) => named(vip, answers[index]!)));
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.map((kept) => kept.close()));
  }
}

function arrange(pods: readonly string[] | 'all', n1: Readonly<Record<string, unknown>> = {}): void {
  cluster.services = { web: pods };
  cluster.nodes = { n1, n2: {} };
  cluster.write();
}

for (const backend of ['nftables', 'iptables'] as const) {
  void describe(backend, () => {
    before(async () => {
      arrange('all');
      const extra = [`--nat-backend=${backend}`, '--handover-delay=0s', '--drain-timeout=0s'];
      agents = await startAgents(cluster.path, [
        { namespace: topology.hosts.n2, mode: 'realserver', extra },
        { namespace: topology.hosts.n1, mode: 'director,realserver', extra: [...extra, '--ipvs-ignore-node-cordon=false'] },
      ]);
    });

    after(async () => {
      await endAgents(agents);
    });

    test(`${backend}: three of four pods are here: each of the four gets a quarter`, async () => {
      await shares(`${backend}, three here and one elsewhere`, evenly('web-1', 'web-2', 'web-3', 'web-4'));
      const { stdout } = await topology.hosts.n1.run(['ipvsadm', '-Sn']);
      assert.doesNotMatch(stdout, /-r (10\.20\.0\.11|\[2001:db8:20::11\])/, 'this node is no destination of its own');
      const conntrack = await topology.hosts.n1.run(['cat', '/proc/sys/net/ipv4/vs/conntrack']);
      assert.equal(conntrack.stdout.trim(), '1');
    });

    test(`${backend}: TCP connections to the other node go on there when connection tracking has forgotten them`, async (context) => {
      await timeouts({ tcp_timeout_syn_sent: 5, tcp_timeout_unacknowledged: 5 });
      const kept = await KeptSockets.open('tcp', EACH);
      try {
        const first = await kept.ask();
        const elsewhere = [...first.keys()].filter((socket) => first.get(socket) === 'web-4');
        const here = [...first.keys()].filter((socket) => first.get(socket) !== 'web-4');
        assert.deepEqual([...new Set(first.values())].sort(), ['web-1', 'web-2', 'web-3', 'web-4']);
        // First what began with SYN, then what began in the middle of a connection.
        for (const beginning of ['SYN', 'an ACK']) {
          const known = await tracked('tcp');
          for (const socket of elsewhere) {
            const { original, reply } = known.get(socket) ?? {};
            assert.deepEqual(reply?.source, original?.destination, `${socket}, known by ${beginning}: nobody has translated it`);
            assert.ok(original !== undefined, `${socket} is known by ${beginning}`);
          }
          await waitFor(`what is known by ${beginning} to be forgotten`, async () => {
            const now = await tracked('tcp');
            assert.deepEqual(
              elsewhere.filter((socket) => now.has(socket)),
              [],
            );
            return true;
          });
          const still = await tracked('tcp');
          for (const socket of here) {
            assert.ok((still.get(socket)?.timeoutSeconds ?? 0) > 86_400, `${socket} is seen in both directions: it is known for days`);
          }
          const again = await kept.ask();
          assert.deepEqual(again, first, `forgotten after ${beginning}`);
        }
        context.diagnostic(`note: ${here.length} connections here, ${elsewhere.length} elsewhere and forgotten twice`);
      } finally {
        await kept.close();
        await timeouts({ tcp_timeout_syn_sent: 120, tcp_timeout_unacknowledged: 300 });
      }
    });

    test(`${backend}: a sender of datagrams keeps its pod while connection tracking knows it, and draws again after that`, async (context) => {
      await timeouts({ udp_timeout: 5, udp_timeout_stream: 5 });
      const kept = await KeptSockets.open('udp', EACH);
      try {
        const first = await kept.ask();
        assert.deepEqual([...new Set(first.values())].sort(), ['web-1', 'web-2', 'web-3', 'web-4']);
        assert.deepEqual(await kept.ask(), first);
        await waitFor('all to be forgotten', async () => {
          const now = await tracked('udp');
          const still = [...first.keys()].filter((socket) => now.has(socket)).map((socket) => now.get(socket));
          assert.deepEqual(still, []);
          return true;
        });
        const again = await kept.ask();
        assert.deepEqual([...new Set(again.values())].sort(), ['web-1', 'web-2', 'web-3', 'web-4'], 'all are answered');
        const moved = [...first].filter(([socket, pod]) => again.get(socket) !== pod).length;
        // That nobody draws another one of four comes once in 4 ** 80 runs.
        assert.ok(moved > 0);
        context.diagnostic(`note: ${moved} of ${first.size} senders have another pod`);
        assert.deepEqual(await kept.ask(), again);
      } finally {
        await kept.close();
        await timeouts({ udp_timeout: 30, udp_timeout_stream: 120 });
      }
    });

    test(`${backend}: one here and one elsewhere, all here, none here, this node cordoned`, async () => {
      arrange(['web-1', 'web-4']);
      await shares(`${backend}, one here and one elsewhere`, evenly('web-1', 'web-4'));
      arrange(['web-1', 'web-2', 'web-3']);
      await shares(`${backend}, all here`, evenly('web-1', 'web-2', 'web-3'));
      arrange(['web-4']);
      await shares(`${backend}, none here`, evenly('web-4'));
      arrange('all', { unschedulable: true });
      await shares(`${backend}, this node cordoned`, evenly('web-4'));
    });
  });
}

void describe('two processes', () => {
  afterEach(async () => {
    await endAgents(agents);
  });

  test('a realserver is idle while a director is on its machine, takes over when that dies, and steps back', async () => {
    arrange('all');
    const { n1, n2 } = topology.hosts;
    const extra = ['--nat-backend=nftables', '--handover-delay=0s'];
    const failover = '--failover-timeout=3';
    const [director] = (agents = await startAgents(cluster.path, [
      { namespace: n1, mode: 'director', extra },
      { namespace: n2, mode: 'realserver', extra },
    ]));
    const realserver = new LabAgent(n1, 'realserver', cluster.path, [...extra, failover]);
    agents.push(realserver);
    realserver.start();
    const arpIgnore = async (): Promise<string> => (await n1.run(['cat', '/proc/sys/net/ipv4/conf/eth0/arp_ignore'])).stdout.trim();
    const ruled = async (): Promise<boolean> => (await n1.run(['nft', 'list', 'ruleset'])).stdout.includes('10.244.1.2');
    await waitFor('the realserver to be up', async () => (await realserver.document()) !== undefined);
    // A look a second: were it to start, it would have by then.
    const began = performance.now();
    await waitFor('four seconds of idleness', async () => {
      assert.equal(await ruled(), false);
      return performance.now() - began > 4000;
    });
    assert.equal(await arpIgnore(), '0');
    for (const vip of vips) assert.deepEqual((await client.ask('tcp', vip, 80, { count: 20 })).pods, { 'web-4': 20 });

    // Another director would send to this node from now on: the client does it itself.
    const mac = /link\/ether (\S+)/.exec((await n1.run(['ip', 'link', 'show', 'eth0'])).stdout)?.[1];
    await topology.hosts.client.ip(...vips.map((vip) => `neigh replace ${vip} lladdr ${mac} dev eth0 nud permanent`));
    await director?.end('SIGKILL');
    const died = performance.now();
    await waitFor('the realserver to take over', ruled);
    const took = performance.now() - died;
    rows.push(`realserver after the death of the director beside it, 3 looks: ${(took / 1000).toFixed(1)} s`);
    assert.ok(took > 1500, `before three looks: ${took.toFixed(0)} ms`);
    assert.equal(await arpIgnore(), '1');
    for (const vip of vips) {
      const { ok, pods } = await client.ask('tcp', vip, 80, { count: 60 });
      assert.equal(ok, 60);
      assert.equal(unevenness(pods, evenly('web-1', 'web-2', 'web-3'), FALSE_ALARM), undefined);
    }

    director?.start();
    await waitFor('the realserver to step back', async () => !(await ruled()));
    await waitFor('its ARP settings to be put back', async () => (await arpIgnore()) === '0');
    await topology.hosts.client.ip(...vips.map((vip) => `neigh del ${vip} dev eth0`));
    for (const vip of vips) {
      await waitFor('the director to serve again', async () => {
        const { ok, pods } = await client.ask('tcp', vip, 80, { count: 20 });
        return ok === 20 && pods['web-4'] === 20;
      });
    }
  });
});

test('shares of a director that serves pods, printed', (context) => {
  context.diagnostic(`note: shares of a director that serves pods\n${rows.map((row) => `    ${row}`).join('\n')}`);
});
