/** The chapters of the demo, in the order in which they are told. */
import { differences, snapshot, type Snapshot } from '../test/lab/snapshot.ts';
import { Witness } from '../test/lab/witness.ts';
import type { Counts } from '../test/lab/load.ts';
import { VIP, VIP_PORT } from '../test/lab/cluster-file.ts';
import { waitFor } from '../test/lab/wait.ts';
import type { AgentName, Scene } from './scene.ts';

const names: readonly AgentName[] = ['director', 'n1', 'n2'];

function list(table: Readonly<Record<string, number>>): string {
  return Object.entries(table)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, count]) => `${key} ${count}`)
    .join(', ');
}

/** Checks that nothing failed between two counts of a running load. */
function noFailures(scene: Scene, what: string, before: Counts, after: Counts): void {
  const failed = after.failed - before.failed;
  const asked = after.ok - before.ok + failed;
  const slow = after.slow - before.slow;
  const errors = failed > 0 ? ` (${list(after.errors)})` : '';
  scene.report.check(
    `failed requests, ${what}`,
    '0',
    `${failed} of ${asked}${errors}${slow > 0 ? `, ${slow} slow` : ''}`,
    failed === 0 && asked > 0,
  );
}

export async function photograph(scene: Scene): Promise<Map<AgentName, Snapshot>> {
  const photos = new Map<AgentName, Snapshot>();
  for (const name of names) {
    const host = scene.topology.hosts[name];
    // Link-local IPv6 addresses are on probation for a second or two.
    await waitFor('addresses to settle', async () => !(await host.run(['ip', 'addr'])).stdout.includes('tentative'));
    photos.set(name, await snapshot(host));
  }
  return photos;
}

async function plans(scene: Scene, expected: 0 | 2): Promise<Map<AgentName, string>> {
  const texts = new Map<AgentName, string>();
  const exits: string[] = [];
  const results = await Promise.all(names.map((name) => scene.agents[name].plan()));
  names.forEach((name, index) => {
    texts.set(name, results[index]!.stdout);
    exits.push(`${results[index]!.status}`);
  });
  const word = expected === 2 ? 'before: changes' : 'after: nothing to change';
  scene.report.check(
    `plan ${word} (exit, 3 agents)`,
    `${expected} ${expected} ${expected}`,
    exits.join(' '),
    exits.every((exit) => exit === `${expected}`),
  );
  return texts;
}

export async function planBefore(scene: Scene): Promise<void> {
  const texts = await plans(scene, 2);
  scene.report.say(`on the director:\n${texts.get('director') ?? ''}`);
  scene.report.say(`on n1:\n${texts.get('n1') ?? ''}`);
}

export async function startAgents(scene: Scene): Promise<void> {
  for (const name of names) scene.agents[name].start();
  for (const name of names) await scene.agents[name].settled();
  const texts = await Promise.all(names.map((name) => scene.agents[name].command('status')));
  names.forEach((name, index) => scene.report.say(`${name}:\n${texts[index]!.stdout}`));
}

/** Sixty requests: the director deals whole nodes by weight, each node deals its pods by chance. */
export async function spread(scene: Scene): Promise<void> {
  const { report } = scene;
  const counts = await scene.client.requests(60);
  report.check('60 requests answered', '60', `${counts.ok}`, counts.ok === 60);
  const share = (pod: string): number => counts.pods[pod] ?? 0;
  const n1 = share('web-1') + share('web-2');
  report.check('share of n1 (weight 2 of 3)', '40', `${n1}`, n1 === 40);
  report.check('share of n2 (weight 1 of 3)', '20', `${share('web-3')}`, share('web-3') === 20);
  for (const pod of ['web-1', 'web-2']) {
    // 40 tosses of a coin: outside 8 to 32 once in 10,000 runs.
    report.check(`share of ${pod} (half of n1, by chance)`, '20 ± 12', `${share(pod)}`, Math.abs(share(pod) - 20) <= 12);
  }
  report.check('client address seen by the pods', '10.20.0.1', list(counts.clients), counts.clients['10.20.0.1'] === counts.ok);
}

async function transmitted(scene: Scene, host: AgentName): Promise<number> {
  return Number((await scene.topology.hosts[host].run(['cat', '/sys/class/net/eth0/statistics/tx_bytes'])).stdout);
}

export async function directReturn(scene: Scene): Promise<void> {
  const { report, topology, client } = scene;
  const before = {
    director: await transmitted(scene, 'director'),
    nodes: (await transmitted(scene, 'n1')) + (await transmitted(scene, 'n2')),
  };
  const counts = await client.requests(3, '/500000');
  const director = (await transmitted(scene, 'director')) - before.director;
  const nodes = (await transmitted(scene, 'n1')) + (await transmitted(scene, 'n2')) - before.nodes;
  const kib = (bytes: number): string => `${(bytes / 1024).toFixed(0)} KiB`;
  report.say(`three answers of 500 kB: the nodes sent ${kib(nodes)}, the director sent ${kib(director)}`);
  // The client's acknowledgements and requests still pass the director.
  report.check(
    'share of the answers that passed the director',
    '0 %',
    `${((director / nodes) * 100).toFixed(1)} % (requests and ACKs)`,
    counts.ok === 3 && director < nodes / 10,
  );

  const mac = (await topology.hosts.director.run(['cat', '/sys/class/net/eth0/address'])).stdout.trim();
  const neighbour = (await topology.hosts.client.run(['ip', 'neigh', 'show', VIP])).stdout;
  report.check(
    "MAC behind the VIP in the client's table",
    'the director',
    neighbour.includes(mac) ? 'the director' : neighbour.trim(),
    neighbour.includes(mac),
  );
}

/** How many answers a pod gave since `before`. */
const answers = (counts: Counts, pod: string): number => counts.pods[pod] ?? 0;

export async function podsComeAndGo(scene: Scene): Promise<void> {
  const { client, topology, file, report } = scene;
  let before = await client.counts();
  await topology.addPod('web-4', 'n2');
  file.set('web-4', 'starting');
  file.set('web-4', 'ready');
  await waitFor('an answer of web-4', async () => answers(await client.counts(), 'web-4') >= 5);
  const after = await client.counts();
  noFailures(scene, 'a pod is added', before, after);
  report.say(`web-4 answers: ${list(after.pods)}`);

  before = await client.counts();
  file.set('web-1', 'terminating');
  // A pod is told to end only after the cluster has stopped sending to it: wait until no new connection comes.
  // `ipvsadm` and `nft` are asked, not the agents.
  await waitFor('n1 to stop sending to web-1', async () => {
    const { stdout } = await topology.hosts.n1.run(['nft', 'list', 'map', 'ip', 'ravel', 'endpoints']);
    return stdout.includes('10.244.1.3') && !stdout.includes('10.244.1.2');
  });
  await waitFor('the director to count one pod on n1', async () => {
    const { stdout } = await topology.hosts.director.run(['ipvsadm', '-Sn']);
    return /-r 10\.20\.0\.11:80 -g -w 1/.test(stdout);
  });
  const exit = await topology.removePod('web-1');
  file.write();
  const gone = await client.counts();
  await waitFor('200 more answers', async () => (await client.counts()).ok - gone.ok >= 200);
  const end = await client.counts();
  noFailures(scene, 'a pod is removed', before, end);
  report.check(
    'web-1 ended by itself, nothing asks it any more',
    'status 0, 0',
    `${exit}, ${answers(end, 'web-1') - answers(gone, 'web-1')}`,
    exit === 'status 0' && answers(end, 'web-1') === answers(gone, 'web-1'),
  );
}

export async function badInput(scene: Scene): Promise<void> {
  const { client, file, agents, report } = scene;
  const before = await client.counts();
  const good = file.text();
  file.writeText(good.replace(`'${VIP_PORT}': {`, "'99999': {"));
  const refused = await waitFor(
    'the director to refuse the file',
    async () => (await agents.director.document())?.source.refused ?? undefined,
  );
  report.say(refused.problems.map((problem) => `${problem.path}: ${problem.message}`).join('\n'));
  file.write();
  await waitFor('the good file to be accepted', async () => (await agents.director.document())?.source.refused === null);
  noFailures(scene, 'the file is broken and mended', before, await client.counts());
}

/**
 * kill -9, requests go on; the next process adopts what it finds. Returns the writes of its restart, as it
 * counts them itself; the kernel's own events have to agree.
 */
export async function killAgent(scene: Scene, name: AgentName): Promise<number> {
  const { client, agents, report, topology } = scene;
  const before = await client.counts();
  const exit = await agents[name].process.stop('SIGKILL');
  const dead = await client.counts();
  await waitFor('200 answers without the agent', async () => (await client.counts()).ok - dead.ok >= 200);
  const witness = await Witness.create(topology.hosts[name]);
  agents[name].start();
  const { loop } = await agents[name].settled();
  const started = await client.counts();
  await waitFor('100 answers with the new agent', async () => (await client.counts()).ok - started.ok >= 100);
  const seen = await witness.close();
  noFailures(scene, `kill -9 of the agent on ${name}`, before, await client.counts());
  report.check(`the agent on ${name} died of`, 'SIGKILL', exit, exit === 'SIGKILL');
  report.check(`kernel writes of its restart (${name})`, '0', `${loop.written}`, loop.written === 0);
  report.check(`kernel events of its restart (${name})`, '0', `${seen.length}`, seen.length === 0);
  if (seen.length > 0) report.say(seen.join('\n'));
  return loop.written;
}

export async function planAfter(scene: Scene): Promise<void> {
  await plans(scene, 0);
}

export async function stopAgents(scene: Scene): Promise<void> {
  const { client, agents, report } = scene;
  const before = await client.counts();
  const exits: string[] = [];
  for (const name of names) exits.push(await agents[name].process.stop('SIGTERM'));
  const stopped = await client.counts();
  await waitFor('100 answers without any agent', async () => (await client.counts()).ok - stopped.ok >= 100);
  noFailures(scene, 'all agents are stopped', before, await client.counts());
  report.check(
    'agents end on SIGTERM',
    'status 0, 3 times',
    exits.join(', '),
    exits.every((exit) => exit === 'status 0'),
  );
}

export async function cleanup(scene: Scene, before: ReadonlyMap<AgentName, Snapshot>): Promise<void> {
  const { agents, topology, report, client } = scene;
  await Promise.all(names.map((name) => agents[name].cleanup()));
  for (const name of names) {
    const found = differences(before.get(name)!, await snapshot(topology.hosts[name]));
    report.check(
      `state of ${name} after cleanup`,
      'as before, byte for byte',
      found.length === 0 ? 'as before, byte for byte' : `${found.length} lines differ`,
      found.length === 0,
    );
    if (found.length > 0) report.say(found.join('\n'));
  }
  await topology.hosts.client.ip(`neigh flush to ${VIP}`);
  const counts = await client.requests(1);
  report.check('the VIP answers after cleanup', 'no', counts.ok === 0 ? 'no' : 'yes', counts.ok === 0);
}
