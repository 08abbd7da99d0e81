/**
 * Who answers for an IPv6 VIP on the segment: the director that announces it and nobody else; after a failover the other
 * one, and clients that knew the first learn it from the advertisement, without asking.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { LabAgent } from '../lab/agent.ts';
import { Capture } from '../lab/capture.ts';
import { LabCluster } from '../lab/cluster.ts';
import type { Namespace } from '../lab/namespace.ts';
import { LabProcess } from '../lab/process.ts';
import { Topology } from '../lab/topology.ts';
import { echoPod, TrafficClient } from '../lab/traffic.ts';
import { waitFor } from '../lab/wait.ts';

const VIP = '2001:db8:20::100';
const LIMIT_SECONDS = 1;

let topology: Topology;
let second: Namespace;
let client: TrafficClient;
let cluster: LabCluster;
const agents: LabAgent[] = [];

const macOf = async (host: Namespace): Promise<string> =>
  /link\/ether (\S+)/.exec((await host.run(['ip', 'link', 'show', 'eth0'])).stdout)?.[1] ?? '';
const neighbour = async (): Promise<string | undefined> =>
  /lladdr (\S+)/.exec((await topology.hosts.client.run(['ip', '-6', 'neigh', 'show', VIP])).stdout)?.[1];

before(async () => {
  topology = await Topology.create(echoPod);
  await topology.addPod('web-1', 'n1');
  await topology.addPod('web-2', 'n2');
  second = await topology.addHost('director2', false, '10.20.0.20/24', '2001:db8:20::20/64');
  client = new TrafficClient(topology.hosts.client);
  cluster = new LabCluster(topology);
  cluster.vips = { [VIP]: { 80: { udpEnabled: true } } };
  cluster.write();
  const { director, n1, n2 } = topology.hosts;
  for (const [host, mode] of [[director, 'director'] as const, [n1, 'realserver'] as const, [n2, 'realserver'] as const]) {
    agents.push(new LabAgent(host, mode, cluster.path, ['--handover-delay=0s']));
  }
  for (const agent of agents) agent.start();
  for (const agent of agents) await agent.settled();
});

after(async () => {
  for (const agent of agents) await agent.end();
  await client.close();
  await topology.close();
});

test('the VIP is resolved by the director alone, although the realservers hold it too', async () => {
  await waitFor('the VIP to be announced', async () => (await agents[0]?.document())?.vips[0]?.announced === true);
  for (const node of ['n1', 'n2'] as const) {
    assert.match((await topology.hosts[node].run(['ip', '-6', 'addr', 'show', 'dev', 'ravel0'])).stdout, /2001:db8:20::100\/128/);
  }
  const capture = await Capture.start(topology.hosts.client, 'icmp6 and (ip6[40] = 135 or ip6[40] = 136)', 'eth0', ['-e']);
  await topology.hosts.client.run(['ip', '-6', 'neigh', 'flush', 'all']);
  const { ok, pods } = await client.ask('tcp', VIP, 80, { count: 20, limitMs: 10_000 });
  assert.equal(ok, 20);
  assert.deepEqual(Object.keys(pods).sort(), ['web-1', 'web-2']);
  const director = await macOf(topology.hosts.director);
  assert.equal(await neighbour(), director);
  const told = await waitFor('an advertisement of the VIP', () => {
    const lines = capture.lines().filter((line) => line.includes('neighbor advertisement') && line.includes(`tgt is ${VIP}`));
    return lines.length > 0 && lines;
  });
  await capture.stop();
  for (const line of told) assert.ok(line.includes(`${director} >`), line);
});

/** Seconds at which the first line that holds `text` was printed by `ip -ts monitor`. */
const stamped = (lines: readonly string[], text: RegExp): number | undefined => {
  const stamp = /^\[([^\]]+)\]/.exec(lines.find((line) => text.test(line)) ?? '')?.[1];
  return stamp === undefined ? undefined : new Date(stamp).getTime() / 1000;
};

test('a client that knew the first director learns of the second within a second, and has not asked', async (context) => {
  assert.equal((await client.ask('udp', VIP, 80)).ok, 1);
  assert.equal(await neighbour(), await macOf(topology.hosts.director));
  // The first is gone with its machine: its agent cannot withdraw, its kernel no longer answers.
  await agents[0]?.end('SIGKILL');
  await topology.hosts.director.ip('link set eth0 down');
  const capture = await Capture.start(topology.hosts.client, 'icmp6 and (ip6[40] = 135 or ip6[40] = 136)', 'eth0', ['-e']);
  const monitor = (host: Namespace, what: string): LabProcess =>
    new LabProcess(host, `monitor-${host.name}`, ['stdbuf', '-oL', 'ip', '-6', '-o', '-ts', 'monitor', what]);
  const monitors = [monitor(second, 'address'), monitor(topology.hosts.client, 'neigh')] as const;
  const agent = new LabAgent(second, 'director', cluster.path, ['--handover-delay=0s']);
  agents.push(agent);
  agent.start();
  const mac = await macOf(second);
  const [placed, learned]: [string[], string[]] = [[], []];
  const [announcedAt, knownAt] = await waitFor('the client to know the second director', () => {
    placed.push(...monitors[0].takeLines());
    learned.push(...monitors[1].takeLines());
    const [announced, known] = [stamped(placed, /eth0 .*2001:db8:20::100/), stamped(learned, new RegExp(`${VIP} .*${mac}`))];
    return announced !== undefined && known !== undefined && ([announced, known] as const);
  });
  for (const each of monitors) await each.stop('SIGKILL');
  context.diagnostic(`note: a neighbour knew the new director ${((knownAt - announcedAt) * 1000).toFixed(0)} ms after the VIP was placed`);
  assert.ok(knownAt - announcedAt < LIMIT_SECONDS);
  const said = await waitFor('the burst of advertisements', () => {
    const lines = capture.lines().filter((line) => line.includes(`${mac} >`) && line.includes(`tgt is ${VIP}`));
    return lines.length > 2 && lines;
  });
  await capture.stop();
  assert.match(said[0]!, /> 33:33:00:00:00:01.* ff02::1: .*neighbor advertisement/, 'to all nodes');
  const asked = capture.lines().filter((line) => line.includes('neighbor solicitation') && line.includes(`who has ${VIP}`));
  assert.deepEqual(asked, []);
  const { ok, pods } = await client.ask('udp', VIP, 80, { count: 20 });
  assert.deepEqual([ok, Object.keys(pods).sort()], [20, ['web-1', 'web-2']]);
});

test('a VIP without a backend is answered for by nobody', async () => {
  cluster.services = { web: [] };
  cluster.write();
  await waitFor('the VIP to be withdrawn', async () => (await agents.at(-1)?.document())?.vips[0]?.announced === false);
  const { stdout } = await second.run(['ip', '-6', 'addr', 'show', 'dev', 'eth0']);
  assert.doesNotMatch(stdout, /2001:db8:20::100/);
  await topology.hosts.client.run(['ip', '-6', 'neigh', 'flush', 'all']);
  assert.equal((await client.ask('udp', VIP, 80, { limitMs: 1500 })).ok, 0);
  assert.equal(await neighbour(), undefined);
});
