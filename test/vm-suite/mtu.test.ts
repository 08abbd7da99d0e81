/**
 * Packets as large as the wire, by direct routing and through a tunnel, IPv4 and IPv6: delivered, or their sender is told
 * what would fit. On the segment everything is 1500 bytes wide; a client far away is behind a link of 1400.
 *
 *     far 10.30.0.2 -- edge 10.30.0.1 =1400= router 10.20.0.254 -- segment
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { LabAgent } from '../lab/agent.ts';
import { endAgents, startAgents } from '../lab/agents.ts';
import { Capture } from '../lab/capture.ts';
import { LabCluster } from '../lab/cluster.ts';
import type { Namespace } from '../lab/namespace.ts';
import { Topology } from '../lab/topology.ts';
import { echoPod, TrafficClient, type Answers, type Question } from '../lab/traffic.ts';
import { waitFor } from '../lab/wait.ts';

/** Bytes of a header; the timestamps in every TCP segment of Linux (RFC 7323) are padded to 12. */
const [IP, IP6, UDP, TCP, TIMESTAMPS] = [20, 40, 8, 20, 12] as const;
const WIRE = 1500;
const NARROW = 1400;

interface Family {
  readonly name: string;
  readonly header: number;
  readonly vips: { readonly direct: string; readonly tunnel: string };
}

const families: readonly Family[] = [
  { name: 'IPv4', header: IP, vips: { direct: '10.20.0.100', tunnel: '10.20.0.101' } },
  { name: 'IPv6', header: IP6, vips: { direct: '2001:db8:20::100', tunnel: '2001:db8:20::101' } },
];
const methods = ['direct', 'tunnel'] as const;
type Method = (typeof methods)[number];

/** The outer header of a tunnel is of the same family. */
const room = (family: Family, method: Method): number => WIRE - (method === 'tunnel' ? family.header : 0);

let topology: Topology;
let far: Namespace;
let near: TrafficClient;
let distant: TrafficClient;
let agents: LabAgent[] = [];
const rows: string[][] = [];

async function addFarAway(): Promise<void> {
  const router = await topology.addHost('router', true, '10.20.0.254/24', '2001:db8:20::254/64');
  const edge = await topology.addMachine('edge', true);
  far = await topology.addMachine('far', false);
  await router.ip('link add outer type veth peer name inner netns edge');
  await edge.ip('link add outer type veth peer name eth0 netns far');
  const link = async (host: Namespace, device: string, mtu: number, ...networks: readonly string[]): Promise<void> => {
    await host.ip(
      ...networks.map((network) => `addr add ${network} dev ${device}${network.includes(':') ? ' nodad' : ''}`),
      `link set ${device} mtu ${mtu} up`,
    );
  };
  await link(router, 'outer', NARROW, '10.31.0.1/24', '2001:db8:31::1/64');
  await link(edge, 'inner', NARROW, '10.31.0.2/24', '2001:db8:31::2/64');
  await link(edge, 'outer', WIRE, '10.30.0.1/24', '2001:db8:30::1/64');
  await link(far, 'eth0', WIRE, '10.30.0.2/24', '2001:db8:30::2/64');
  await far.ip('route add default via 10.30.0.1', 'route add default via 2001:db8:30::1');
  await edge.ip('route add default via 10.31.0.1', 'route add default via 2001:db8:31::1');
  await router.ip('route add 10.30.0.0/24 via 10.31.0.2', 'route add 2001:db8:30::/64 via 2001:db8:31::2');
  for (const host of ['director', 'n1', 'n2'] as const) {
    await topology.hosts[host].ip('route add default via 10.20.0.254', 'route add default via 2001:db8:20::254');
  }
}

before(async () => {
  topology = await Topology.create(echoPod);
  await topology.addPod('web-1', 'n1');
  await addFarAway();
  const cluster = new LabCluster(topology);
  for (const { vips } of families) {
    for (const method of methods) cluster.vips[vips[method]] = { 80: { options: { forwardingMethod: method }, udpEnabled: true } };
  }
  cluster.write();
  const { director, n1 } = topology.hosts;
  const extra = ['--nat-backend=nftables', '--handover-delay=0s'];
  agents = await startAgents(cluster.path, [
    { namespace: n1, mode: 'realserver', extra },
    { namespace: director, mode: 'director', extra },
  ]);
  await waitFor('every VIP to be announced', async () => (await agents[1]?.document())?.vips.every(({ announced }) => announced === true));
  [near, distant] = [new TrafficClient(topology.hosts.client), new TrafficClient(far)];
});

after(async () => {
  await endAgents(agents);
  await near.close();
  await distant.close();
  await topology.close();
});

/** What machines have learned of paths is forgotten. */
async function forget(): Promise<void> {
  const machines = [...Object.values(topology.hosts), far, topology.pods.get('web-1')!.namespace];
  for (const machine of machines) await machine.run(['sh', '-c', 'ip -4 route flush cache && ip -6 route flush cache']);
}

const describeAnswers = ({ ok, errors, pathMtu }: Answers): string =>
  ok > 0 ? 'delivered' : `${Object.keys(errors).join()}, path MTU ${pathMtu}`;

async function datagram(family: Family, method: Method, bytes: number, question: Question): Promise<Answers> {
  const answers = await near.ask('udp', family.vips[method], 80, { send: bytes, want: 64, limitMs: 2000, ...question });
  rows.push([family.name, method, `UDP ${bytes}`, question.df === 'do' ? 'DF' : 'no DF', describeAnswers(answers)]);
  return answers;
}

for (const family of families) {
  for (const method of methods) {
    const vip = family.vips[method];
    const space = room(family, method);

    test(`${family.name} ${method}: the answer to a SYN promises what fits, and full segments go both ways`, async () => {
      await forget();
      const capture = await Capture.start(topology.hosts.client, 'tcp[13] = 18 or (ip6[6] = 6 and ip6[53] = 18)');
      const answers = await near.ask('tcp', vip, 80, { send: 300_000, want: 300_000 });
      assert.deepEqual([answers.ok, answers.wrong, answers.errors], [1, 0, {}]);
      const promised = space - family.header - TCP;
      assert.equal(answers.segment, promised - TIMESTAMPS);
      const line = await waitFor('the SYN-ACK to be seen', () => capture.lines().find((text) => text.includes(`${vip}.80 >`)));
      await capture.stop();
      assert.match(line, new RegExp(`mss ${promised},`));
      rows.push([family.name, method, `TCP ${WIRE}`, 'DF', `delivered, MSS ${promised}`]);
    });

    test(`${family.name} ${method}: a datagram as large as the wire, and one byte larger`, async () => {
      const most = WIRE - family.header - UDP;
      await forget();
      // Without DF: in fragments where it does not fit. What an IPv6 router finds too large is lost once; its sender knows then.
      let answers = await datagram(family, method, most, { df: 'dont' });
      if (family.name === 'IPv6' && method === 'tunnel') {
        assert.deepEqual([answers.ok, answers.pathMtu], [0, space]);
        answers = await datagram(family, method, most, { df: 'dont' });
      }
      assert.deepEqual([answers.ok, answers.wrong], [1, 0], describeAnswers(answers));
      const capture = await Capture.start(topology.hosts.client, 'icmp6 and ip6[40] = 2');
      answers = await datagram(family, method, most + 1, { df: 'dont' });
      if (family.name === 'IPv6' && method === 'tunnel') {
        // The director's kernel puts fragments together and sends the whole through the tunnel. It is larger than the pod's
        // link then, and no IPv6 router divides: the node says so, for every one.
        assert.equal(answers.ok, 0);
        await waitFor('the node to say that it is too big', () => capture.lines().some((line) => line.includes('packet too big')));
        rows.push([family.name, method, `UDP ${most + 1}`, 'no DF', 'the node says too big']);
      } else {
        assert.deepEqual([answers.ok, answers.wrong], [1, 0], describeAnswers(answers));
      }
      await capture.stop();
      await forget();
      const full = await datagram(family, method, most, { df: 'do' });
      if (method === 'direct') assert.deepEqual([full.ok, full.wrong], [1, 0]);
      else assert.deepEqual([full.errors, full.pathMtu], [{ 'receive: EMSGSIZE': 1 }, space]);
      const more = await datagram(family, method, most + 1, { df: 'do' });
      assert.deepEqual([more.errors, more.pathMtu], [{ 'send: EMSGSIZE': 1 }, space]);
      const fits = await datagram(family, method, space - family.header - UDP, { df: 'do' });
      assert.deepEqual([fits.ok, fits.wrong], [1, 0]);
    });

    test(`${family.name} ${method}: a router on the way back that finds a packet of the VIP too large is heard by the pod`, async () => {
      await forget();
      const answers = await distant.ask('tcp', vip, 80, { want: 300_000 });
      assert.deepEqual([answers.ok, answers.wrong, answers.errors], [1, 0, {}]);
      const pod = topology.pods.get('web-1')!.namespace;
      const [client, list] = family.name === 'IPv4' ? ['10.30.0.2', '-4'] : ['2001:db8:30::2', '-6'];
      const { stdout } = await pod.run(['ip', list, 'route', 'get', client]);
      assert.match(stdout, new RegExp(`mtu ${NARROW}`));
      rows.push([family.name, method, 'TCP reply over 1400', 'DF', 'router heard, delivered']);
    });
  }

  test(`${family.name}: where that word is lost, large answers are`, async () => {
    await forget();
    const { n1 } = topology.hosts;
    await n1.run(['nft', 'add table inet deaf; add chain inet deaf in { type filter hook prerouting priority -300; }']);
    await n1.run(['nft', 'add rule inet deaf in icmp type destination-unreachable drop']);
    await n1.run(['nft', 'add rule inet deaf in icmpv6 type packet-too-big drop']);
    const answers = await distant.ask('tcp', family.vips.direct, 80, { want: 300_000, limitMs: 3000 });
    await n1.run(['nft', 'delete table inet deaf']);
    assert.equal(answers.ok, 0);
  });
}

test('what became of large packets, printed', (context) => {
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  context.diagnostic(`note: large packets\n${lines.map((line) => `    ${line}`).join('\n')}`);
});
