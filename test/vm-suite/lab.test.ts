/** The lab itself, with rules made by hand: when this fails, the agents are not to blame. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { VIP, VIP_PORT } from '../lab/cluster-file.ts';
import { LoadClient } from '../lab/load.ts';
import { differences, snapshot } from '../lab/snapshot.ts';
import { addresses, Topology } from '../lab/topology.ts';
import { waitFor } from '../lab/wait.ts';

let topology: Topology;
let client: LoadClient;

before(async () => {
  topology = await Topology.create();
  await topology.addPod('web-1', 'n1');
  await topology.addPod('web-2', 'n2');
  client = new LoadClient(topology.hosts.client, VIP, VIP_PORT);
});

after(async () => {
  await client.close();
  await topology.close();
});

test('nothing answers on a VIP that nobody has programmed', async () => {
  const counts = await client.requests(1);
  assert.deepEqual([counts.ok, counts.failed], [0, 1]);
});

test('rules made with ipvsadm and nft carry connections, and the answers do not pass the director', async () => {
  const holdVip = ['link add vip0 type dummy', 'link set vip0 up', `addr add ${VIP}/32 dev vip0`];
  const { director } = topology.hosts;
  await director.ip(...holdVip);
  const service = `-t ${VIP}:${VIP_PORT}`;
  await director.run(['ipvsadm', '-R'], {
    input: `-A ${service} -s wrr\n-a ${service} -r ${addresses.n1}:80 -g -w 2\n-a ${service} -r ${addresses.n2}:80 -g -w 1\n`,
  });
  for (const [node, pod] of [
    ['n1', '10.244.1.2'],
    ['n2', '10.244.2.2'],
  ] as const) {
    await topology.hosts[node].run(['sh', '-c', 'cd /proc/sys/net/ipv4/conf/eth0 && echo 1 >arp_ignore && echo 2 >arp_announce']);
    await topology.hosts[node].ip(...holdVip);
    const rule = `ip daddr ${VIP} tcp dport ${VIP_PORT} dnat to ${pod}:8080`;
    await topology.hosts[node].run(['nft', '-f', '-'], {
      input: `table ip t {\nchain c {\ntype nat hook prerouting priority -101\n${rule}\n}\n}\n`,
    });
  }
  const counts = await client.requests(30);
  assert.deepEqual(counts.pods, { 'web-1': 20, 'web-2': 10 });
  assert.deepEqual(counts.clients, { [addresses.client]: 30 });

  const sent = async (): Promise<number> => Number((await director.run(['cat', '/sys/class/net/eth0/statistics/tx_bytes'])).stdout);
  const earlier = await sent();
  assert.equal((await client.requests(1, '/500000')).ok, 1);
  assert.ok((await sent()) - earlier < 100_000, 'the answer passed the director');
});

test('a continuous load is counted, kept connections too, and a pod that dies is a failure', async () => {
  await client.start(2, 2);
  await waitFor('some answers', async () => (await client.counts()).ok > 30);
  assert.equal((await client.counts()).failed, 0);
  await topology.pods.get('web-2')!.process.stop('SIGKILL');
  await waitFor('the failures of a killed pod', async () => (await client.counts()).failed > 0);
  await client.stop();
});

test('snapshots see what changes and nothing else', async () => {
  const { n2 } = topology.hosts;
  const first = await snapshot(n2);
  assert.deepEqual(differences(first, await snapshot(n2)), []);
  await n2.run(['sh', '-c', 'echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_ignore']);
  await n2.ip('addr add 10.9.9.9/32 dev vip0');
  const found = differences(first, await snapshot(n2)).join('\n');
  assert.match(found, /\+ .*conf\/eth0\/arp_ignore:0/);
  assert.match(found, /\+ .*10\.9\.9\.9\/32/);
});
