/**
 * A realserver with packets on the running kernel: IPv4 and IPv6, TCP and UDP, by nftables and by legacy iptables. This
 * kernel may have no IPVS and no dummy devices: the VIPs are on a bridge, and the client sends to the node itself, as a
 * director would. What the rules look like is held against the texts beside this file.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { LabAgent } from '../lab/agent.ts';
import { unevenness } from '../lab/balance.ts';
import { LabCluster } from '../lab/cluster.ts';
import type { Namespace } from '../lab/namespace.ts';
import { judge, type Turn } from '../lab/one-way.ts';
import { addresses, addresses6, Topology } from '../lab/topology.ts';
import { arrivals, echoPod, monotonicMs, OneWaySender, TrafficClient } from '../lab/traffic.ts';
import { waitFor } from '../lab/wait.ts';
import { unsupported } from './iptables-available.ts';

const COUNT = 300;
/** All shares of a run together cry wolf once in a million runs; there are fewer than a hundred. */
const FALSE_ALARM = 1e-8;
/** The first has pods on n1, the second on n2 alone. */
const vips = { here: ['10.20.0.100', '2001:db8:20::100'], elsewhere: ['10.20.0.101', '2001:db8:20::101'] } as const;

let topology: Topology;
let client: TrafficClient;
let cluster: LabCluster;

before(async () => {
  execFileSync('scripts/lab-programs');
  topology = await Topology.create(echoPod);
  for (const pod of ['web-1', 'web-2']) await topology.addPod(pod, 'n1');
  await topology.addPod('db-1', 'n2');
  for (const node of ['n1', 'n2'] as const) await topology.hosts[node].ip('link add vip0 type bridge', 'link set vip0 up');
  // Wider than what its VIPs are to promise: a rule has to say so in SYN segments.
  await topology.hosts.n1.ip('link set eth0 mtu 9000');
  const mac = /link\/ether (\S+)/.exec((await topology.hosts.n1.run(['ip', 'link', 'show', 'eth0'])).stdout)?.[1];
  await topology.hosts.client.ip(
    ...[...vips.here, ...vips.elsewhere].map((vip) => `neigh replace ${vip} lladdr ${mac} dev eth0 nud permanent`),
  );
  client = new TrafficClient(topology.hosts.client);
  cluster = new LabCluster(topology);
  for (const vip of vips.here) cluster.vips[vip] = { 80: { udpEnabled: true }, 443: {} };
  for (const vip of vips.here) cluster.mtu[vip] = 1500;
  for (const vip of vips.elsewhere) cluster.vips[vip] = { 5432: { service: 'db', udpEnabled: true } };
});

after(async () => {
  await client.close();
  await topology.close();
});

/** RAVEL_WRITE_GOLDENS=1 writes it. */
function golden(name: string, text: string): void {
  const file = `test/netns/golden/${name}.txt`;
  if (process.env['RAVEL_WRITE_GOLDENS'] === '1') writeFileSync(file, text);
  assert.equal(text, readFileSync(file, 'utf8'), `${file}; RAVEL_WRITE_GOLDENS=1 writes it`);
}

const withoutCounts = (text: string): string =>
  text
    .replaceAll(/counter packets \d+ bytes \d+/g, 'counter packets 0 bytes 0')
    .replaceAll(/\[\d+:\d+\]/g, '[0:0]')
    .replaceAll(/^#.*\n/gm, '');

const listings: Readonly<Record<string, (host: Namespace) => Promise<string>>> = {
  nftables: async (host) => withoutCounts((await host.run(['nft', 'list', 'ruleset'])).stdout),
  iptables: async (host) => {
    const [v4, v6] = [await host.run(['iptables-legacy-save', '-t', 'nat']), await host.run(['ip6tables-legacy-save', '-t', 'nat'])];
    return withoutCounts(`${v4.stdout}\n${v6.stdout}`);
  },
};

for (const backend of ['nftables', 'iptables'] as const) {
  void describe(backend, { skip: backend === 'iptables' && unsupported }, () => {
    let agent: LabAgent;

    before(async () => {
      cluster.services = { web: ['web-1', 'web-2'], db: ['db-1'] };
      cluster.write();
      agent = new LabAgent(topology.hosts.n1, 'realserver', cluster.path, [
        ...[`--nat-backend=${backend}`, '--vip-interface=vip0', '--handover-delay=0s', '--coordinator-port=0'],
      ]);
      agent.start();
      await agent.settled();
    });

    after(async () => {
      await agent.end();
    });

    test(`${backend}: the rules are those that the system's own tool prints, and reads again`, async () => {
      const { n1 } = topology.hosts;
      const text = await listings[backend]!(n1);
      golden(`realserver-${backend}`, text);
      if (backend === 'nftables') {
        await topology.hosts.director.run(['nft', '-f', '-'], { input: text });
        assert.equal(await listings[backend]!(topology.hosts.director), text);
        await topology.hosts.director.run(['nft', 'flush', 'ruleset']);
      } else {
        const saved = (await n1.run(['iptables-legacy-save', '-t', 'nat'])).stdout;
        await topology.hosts.director.run(['iptables-legacy-restore'], { input: saved });
        assert.equal(
          withoutCounts((await topology.hosts.director.run(['iptables-legacy-save', '-t', 'nat'])).stdout),
          withoutCounts(saved),
        );
        await topology.hosts.director.run(['iptables-legacy', '-t', 'nat', '-F']);
      }
      assert.equal(
        (await listings[backend === 'nftables' ? 'iptables' : 'nftables']!(n1)).includes('10.20.0.100'),
        false,
        'the other has none',
      );
    });

    for (const vip of vips.here) {
      for (const protocol of ['tcp', 'udp'] as const) {
        test(`${backend}: ${protocol} to ${vip}: both pods alike, and they see the client`, async () => {
          const { ok, errors, pods, clients } = await client.ask(protocol, vip, 80, { count: COUNT });
          assert.deepEqual([ok, errors], [COUNT, {}]);
          assert.deepEqual(Object.keys(clients), [vip.includes(':') ? addresses6.client : addresses.client]);
          assert.equal(unevenness(pods, { 'web-1': 1 / 2, 'web-2': 1 / 2 }, FALSE_ALARM), undefined);
        });
      }
    }

    test(`${backend}: outside clients of a VIP without a pod here are not served`, async () => {
      for (const vip of vips.elsewhere) assert.equal((await client.ask('tcp', vip, 5432, { count: 2, limitMs: 500 })).ok, 0);
    });

    test(`${backend}: the node, a pod of it, and a backend that calls itself`, async () => {
      const caller = topology.pods.get('web-1')!.namespace;
      for (const [who, host] of [
        ['node', topology.hosts.n1],
        ['backend', caller],
      ] as const) {
        const inside = new TrafficClient(host);
        for (const vip of vips.here) {
          for (const protocol of ['tcp', 'udp'] as const) {
            const { ok, errors, pods } = await inside.ask(protocol, vip, 80, { count: 100 });
            assert.deepEqual([ok, errors], [100, {}], `${who} ${protocol} ${vip}`);
            assert.equal(unevenness(pods, { 'web-1': 1 / 2, 'web-2': 1 / 2 }, FALSE_ALARM), undefined);
          }
        }
        for (const vip of vips.elsewhere) {
          const { ok, pods } = await inside.ask('tcp', vip, 5432, { count: 5, limitMs: 500 });
          assert.deepEqual([ok, pods], backend === 'nftables' ? [5, { 'db-1': 5 }] : [0, {}], `${who} ${vip}`);
        }
        await inside.close();
      }
    });

    test(`${backend}: a one-way sender follows the pods within a second`, async () => {
      for (const { name, node } of [...topology.pods.values()]) {
        await topology.removePod(name);
        await topology.addPod(name, node);
      }
      for (const vip of vips.here) {
        cluster.services = { web: ['web-1'], db: ['db-1'] };
        cluster.write();
        await waitFor('web-1 alone', async () => {
          const { ok, pods } = await client.ask('udp', vip, 80, { count: 20, limitMs: 300 });
          return ok === 20 && pods['web-1'] === 20;
        });
        const sender = await new OneWaySender(topology.hosts.client, vip, 80, 1000).started();
        const turns: Turn[] = [];
        for (const [title, pods] of [
          ['web-2 instead', ['web-2']],
          ['none', []],
          ['web-1 again', ['web-1']],
        ] as const) {
          turns.push({ title, at: monotonicMs(), pods });
          cluster.services = { web: pods, db: ['db-1'] };
          cluster.write();
          const end = monotonicMs() + 2000;
          await waitFor('the time of watching', () => monotonicMs() > end);
        }
        const { sentAt } = await sender.stop();
        const received = new Map([...topology.pods.values()].map((pod) => [pod.name, pod] as const));
        const got = new Map(await Promise.all([...received].map(async ([name, pod]) => [name, await arrivals(pod.process)] as const)));
        const deliveries = judge(turns, sentAt, got);
        for (const delivery of deliveries)
          assert.ok(delivery.sent > 1000 && delivery.lastedMs < 1000, `${vip}: ${JSON.stringify(delivery)}`);
        for (const { name, node } of [...topology.pods.values()]) {
          await topology.removePod(name);
          await topology.addPod(name, node);
        }
      }
    });
  });
}
