/**
 * A sender of 1,000 datagrams a second that never listens and never changes its port, through director and realservers,
 * while its receivers change under it. Nothing may reach a pod that is no endpoint any more, and nobody may miss an
 * endpoint that is there, for longer than a second.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { LabAgent } from '../lab/agent.ts';
import { endAgents, startAgents } from '../lab/agents.ts';
import { run } from '../lab/namespace.ts';
import { LabCluster } from '../lab/cluster.ts';
import { judge, type Delivery, type Turn } from '../lab/one-way.ts';
import { Topology } from '../lab/topology.ts';
import { arrivals, echoPod, monotonicMs, OneWaySender, TrafficClient, type Arrivals } from '../lab/traffic.ts';
import { waitFor } from '../lab/wait.ts';

const VIP = '10.20.0.100';
const PER_SECOND = 1000;
const GOAL_MS = 1000;
/**
 * An emulated CPU that has company misses the goal, and nothing is wrong then: it is printed beside the figures here, and
 * held to on the running kernel (test/netns/realserver-packets.test.ts).
 */
const LIMIT_MS = 2 * GOAL_MS;
/** How long each turn is watched: longer than the limit, so that what goes on is seen. */
const WATCH_MS = 2500;

let topology: Topology;
const rows: string[] = [];

before(async () => {
  // The kernel does not load legacy iptables by itself.
  await run(['modprobe', '-a', 'ip_tables', 'ip6_tables', 'iptable_nat', 'ip6table_nat']);
  topology = await Topology.create(echoPod);
  for (const pod of ['web-1', 'web-2']) await topology.addPod(pod, 'n1');
  await topology.addPod('web-3', 'n2');
});

after(async () => {
  await topology.close();
});

/** What pods have got since the last time they were asked is all there is: ranges are never forgotten. */
async function received(): Promise<Map<string, Arrivals>> {
  const all = new Map<string, Arrivals>();
  for (const [name, pod] of topology.pods) all.set(name, await arrivals(pod.process));
  return all;
}

for (const backend of ['nftables', 'iptables'] as const) {
  void describe(backend, () => {
    const cluster = (): LabCluster => new LabCluster(topology, `/run/lab/udp-${backend}.json`);
    const turns: Turn[] = [];
    let agents: LabAgent[] = [];
    let file: LabCluster;
    let sender: OneWaySender;

    async function turn(title: string, pods: readonly string[], change: () => void | Promise<void>): Promise<void> {
      turns.push({ title, at: monotonicMs(), pods });
      await change();
      const end = monotonicMs() + WATCH_MS;
      await waitFor('the end of the time of watching', () => monotonicMs() > end);
    }

    const endpoints = (title: string, pods: readonly string[]): Promise<void> =>
      turn(title, pods, () => {
        file.services = { web: pods };
        file.write();
      });

    before(async () => {
      file = cluster();
      file.vips = { [VIP]: { 80: { udpEnabled: true } } };
      file.services = { web: ['web-1'] };
      file.write();
      const extra = [`--nat-backend=${backend}`, '--handover-delay=300ms'];
      const { director, n1, n2 } = topology.hosts;
      agents = await startAgents(file.path, [
        { namespace: n1, mode: 'realserver', extra },
        { namespace: n2, mode: 'realserver', extra },
        { namespace: director, mode: 'director', extra },
      ]);
      const probe = new TrafficClient(topology.hosts.client);
      await waitFor('the pod to answer', async () => (await probe.ask('udp', VIP, 80, { limitMs: 500 })).ok === 1);
      await probe.close();
      for (const pod of topology.pods.values()) await pod.process.stop('SIGKILL');
      for (const { name, node } of [...topology.pods.values()]) await topology.addPod(name, node);
      sender = await new OneWaySender(topology.hosts.client, VIP, 80, PER_SECOND).started();
    });

    after(async () => {
      await endAgents(agents);
    });

    test(`${backend}: pods replaced, none, back; service deleted, added; agents restarted: at most a second astray each`, async () => {
      await endpoints('one pod', ['web-1']);
      await endpoints('replaced on its node', ['web-2']);
      await endpoints('replaced on another node', ['web-3']);
      await endpoints('scaled to 0', []);
      await endpoints('and back', ['web-1']);
      await turn('service deleted', [], () => {
        file.vips = {};
        file.write();
      });
      await turn('and added', ['web-1'], () => {
        file.vips = { [VIP]: { 80: { udpEnabled: true } } };
        file.write();
      });
      await endpoints('three pods', ['web-1', 'web-2', 'web-3']);
      const signal = backend === 'nftables' ? 'SIGKILL' : 'SIGTERM';
      await turn(`agents ended by ${signal} and started`, ['web-1', 'web-2', 'web-3'], async () => {
        await Promise.all(agents.map((agent) => agent.end(signal)));
        for (const agent of agents) agent.start();
        for (const agent of agents) await agent.settled();
      });
      const { sentAt } = await sender.stop();
      const deliveries = judge(turns, sentAt, await received());
      const line = ({ title, sent, misdelivered, lost, lastedMs }: Delivery): string =>
        `${backend}, ${title}: ${sent} sent, ${misdelivered} to the wrong pod, ${lost} lost, until ${lastedMs.toFixed(0)} ms after`;
      rows.push(...deliveries.map(line));
      assert.ok(sentAt.length > (turns.length * WATCH_MS * PER_SECOND) / 1500, `only ${sentAt.length} were sent`);
      const slow = deliveries.filter(({ title, lastedMs }) => lastedMs > (title.startsWith('agents ended') ? 0 : LIMIT_MS));
      assert.deepEqual(slow.map(line), []);
    });
  });
}

test('one-way datagrams, printed', (context) => {
  context.diagnostic(
    `note: one-way datagrams, ${PER_SECOND} a second; goal: astray for ${GOAL_MS} ms at most\n${rows.map((row) => `    ${row}`).join('\n')}`,
  );
});
