/**
 * A node is emptied with real connections on it: kept ones go on as long as they like, up to the timeout; new ones go
 * elsewhere. Director, both nodes and the client are namespaces of their own.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { LabAgent } from '../lab/agent.ts';
import { ClusterFile, VIP, VIP_PORT } from '../lab/cluster-file.ts';
import { LoadClient } from '../lab/load.ts';
import { addresses, Topology } from '../lab/topology.ts';
import { waitFor } from '../lab/wait.ts';

let topology: Topology;
let file: ClusterFile;
let kept: LoadClient;
let fresh: LoadClient;
const agents: LabAgent[] = [];

before(async () => {
  topology = await Topology.create();
  await topology.addPod('web-1', 'n1');
  await topology.addPod('web-2', 'n2');
  file = new ClusterFile(topology);
  file.write();
  kept = new LoadClient(topology.hosts.client, VIP, VIP_PORT);
  fresh = new LoadClient(topology.hosts.client, VIP, VIP_PORT);
  const { director, n1, n2 } = topology.hosts;
  for (const node of [n1, n2]) agents.push(new LabAgent(node, 'realserver', file.path));
  agents.push(new LabAgent(director, 'director', file.path, ['--drain-timeout=1h']));
  for (const agent of agents) {
    agent.start();
    await agent.settled();
  }
});

after(async () => {
  for (const agent of agents) await agent.end();
  for (const client of [kept, fresh]) await client.close();
  await topology.close();
});

const rules = async (): Promise<string[]> => (await topology.hosts.director.run(['ipvsadm', '-Sn'])).stdout.split('\n');
const weightOf = async (node: 'n1' | 'n2'): Promise<number | undefined> => {
  const line = (await rules()).find((text) => text.includes(`-r ${addresses[node]}:80 `));
  return line === undefined ? undefined : Number(/ -w (\d+)/.exec(line)?.[1]);
};

test('kept connections outlive the weight of their node, new ones go to the other, and the last one takes it along', async () => {
  // A closed connection is forgotten at once, not after two minutes.
  await topology.hosts.director.run(['ipvsadm', '--set', '0', '1', '0']);
  await kept.start(0, 6, 50);
  await waitFor('connections on both nodes', async () => Object.keys((await kept.counts()).pods).length === 2);
  file.set('web-1', 'terminating');
  await waitFor('n1 at weight 0', async () => (await weightOf('n1')) === 0);
  const { pods } = await fresh.requests(20);
  assert.deepEqual(pods, { 'web-2': 20 });
  const before = (await kept.counts()).pods['web-1'] ?? 0;
  // Its pod is gone from the list: connections alone hold it.
  file.set('web-1', 'starting');
  await waitFor('more answers on the connections of n1', async () => ((await kept.counts()).pods['web-1'] ?? 0) > before + 50);
  assert.equal(await weightOf('n1'), 0);
  const counts = await kept.stop();
  assert.deepEqual([counts.failed, counts.errors], [0, {}]);
  await waitFor('n1 to go', async () => (await weightOf('n1')) === undefined);
  assert.equal(await weightOf('n2'), 1);
});

test('a director that is killed in between goes on, and what is left at the end of the time is ended', async () => {
  const [director] = agents.slice(-1);
  assert.ok(director);
  file.set('web-1', 'ready');
  await waitFor('n1 to be back', async () => (await weightOf('n1')) === 1);
  await kept.start(0, 6, 50);
  await waitFor('connections on both nodes', async () => Object.keys((await kept.counts()).pods).length === 2);
  file.set('web-1', 'starting');
  await waitFor('n1 at weight 0', async () => (await weightOf('n1')) === 0);
  await director.end('SIGKILL');
  const next = new LabAgent(topology.hosts.director, 'director', file.path, ['--drain-timeout=5s']);
  agents.push(next);
  next.start();
  await next.settled();
  assert.equal(await weightOf('n1'), 0, 'neither gone nor back');
  assert.equal((await kept.counts()).failed, 0);
  await waitFor('n1 to go, connections or not', async () => (await weightOf('n1')) === undefined);
  await waitFor('its connections to end', async () => (await kept.counts()).failed > 0);
  const done = (await kept.counts()).pods['web-2'] ?? 0;
  await waitFor('all of them to be on n2', async () => ((await kept.counts()).pods['web-2'] ?? 0) > done + 60);
  await kept.stop();
});
