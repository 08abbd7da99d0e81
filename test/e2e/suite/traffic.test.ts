/**
 * The released agents on a real API server, with real packets: what clients notice of pods that come and go, of an agent
 * that dies, and of an API server that is away. Run in order; each test leaves the cluster as it found it.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { waitFor } from '../../lab/wait.ts';
import { Witness } from '../../lab/witness.ts';
import { Scene, SHOP } from '../lab/scene.ts';
import { ShrinkageWatch } from '../lab/shrinkage.ts';
import { Table } from '../lab/table.ts';

const WEB = '10.20.0.100';
const FRAIL = '10.20.0.101';
/** How long the API server is away, and how often a pod dies meanwhile, seconds. */
const AWAY = Number(process.env['RAVEL_E2E_AWAY'] ?? 120);
const DEATH_EVERY = Number(process.env['RAVEL_E2E_DEATH'] ?? 20);
const FRAIL_PODS = 8;
const MOST_DEAD = 5;
/** A chart for load balancers has its pods wait that long between their deletion and SIGTERM. */
const PRE_STOP_MS = 5000;

const table = new Table('traffic');
let scene: Scene;

before(async () => {
  scene = await Scene.create();
  await scene.createService('web');
  await scene.createService('frail');
  await scene.addPod('web', 'web-1', 'n1');
  await scene.addPod('web', 'web-2', 'n2');
  await scene.addPod('web', 'web-3', 'n1');
  for (let i = 1; i <= FRAIL_PODS; i++) await scene.addPod('frail', `frail-${i}`, i % 2 === 1 ? 'n1' : 'n2');
  await scene.configure({ [WEB]: { 80: 'web' }, [FRAIL]: { 80: 'frail' } });
  await scene.startAgents();
});

after(() => scene.close());

test('Services of the API server are balanced: pods count, the client address arrives', async () => {
  await scene.weightsBecome(WEB, 80, { n1: 2, n2: 1 });
  await scene.weightsBecome(FRAIL, 80, { n1: 4, n2: 4 });
  const client = scene.client(WEB, 80);
  const counts = await client.requests(30);
  assert.deepEqual([counts.ok, counts.failed], [30, 0]);
  assert.equal(counts.pods['web-2'], 10);
  assert.deepEqual(Object.keys(counts.clients), ['10.20.0.1']);
  await client.close();
});

test('each agent holds a constant number of watches and is never refused anything', async () => {
  const seen = await scene.host.requests();
  const most: number[] = [];
  for (const agent of Object.values(scene.agents)) {
    const requests = seen.find(({ credential }) => credential === agent.credential);
    assert.ok(requests !== undefined, `${agent.account} asked for nothing`);
    assert.equal(requests.user, `system:serviceaccount:ravel:${agent.account}`);
    const expected =
      agent.mode === 'director'
        ? ['configmaps', 'endpointslices.discovery.k8s.io', 'leases.coordination.k8s.io', 'nodes', 'services']
        : ['configmaps', 'endpointslices.discovery.k8s.io', 'services'];
    assert.deepEqual(requests.watches, expected);
    most.push(requests.watches.length);
    const refused = Object.keys(requests.answers).filter((answer) => / (401|403|4[0-9][^49]|5..)$/.test(answer));
    assert.deepEqual(refused, [], `${agent.account} was refused`);
  }
  table.add({ name: 'watches per agent (director, realservers)', goal: '<= 6', measured: most.join(', '), met: Math.max(...most) <= 6 });
});

test('a rolling restart of three pods under load loses nothing', async () => {
  const client = scene.steady(WEB, { perSecond: 200, kept: 200, pauseMs: 2000 });
  await waitFor('the connections to be kept', async () => (await client.counts()).openKept >= 198);
  const first = await client.counts();
  const began = performance.now();
  await wait(2000);
  const quiet = await client.counts();
  for (const [old, young, node] of [
    ['web-1', 'web-4', 'n2'],
    ['web-2', 'web-5', 'n1'],
    ['web-3', 'web-6', 'n2'],
  ] as const) {
    // One more before one less, as a Deployment with maxUnavailable 0 does it.
    await scene.addPod('web', young, node);
    const { address } = scene.topology.pods.get(young)!;
    await waitFor(`${young} to be ready in the API`, async () => (await scene.cluster.readyAddresses(SHOP, 'web')).includes(address));
    await scene.deletePod(old, PRE_STOP_MS);
  }
  await scene.weightsBecome(WEB, 80, { n1: 1, n2: 2 });
  await wait(2000);
  const held = await client.counts();
  const seconds = (performance.now() - began) / 1000;
  const counts = await client.stop();
  const rate = (held.begun - first.begun) / seconds;
  const figures = `${counts.failed} of ${counts.ok + counts.failed} failed`;
  table.add({
    name: 'rolling restart of 3 pods: failed requests',
    goal: '0 at 200 new connections/s and 200 kept ones',
    measured: `${figures}; ${rate.toFixed(0)} new connections/s, ${held.openKept} kept`,
    met: counts.failed === 0 && rate >= 195,
    note: `kept connections ask every 2 s; slowest answer ${counts.slowestMs} ms, client late by ${counts.lateMs} ms at most (before the restart: ${quiet.slowestMs} and ${quiet.lateMs} ms)`,
  });
  assert.equal(counts.failed, 0, JSON.stringify(counts.errors));
  // Negative: that the pods were replaced, and that the load was what it claims to be.
  assert.deepEqual(
    ['web-4', 'web-5', 'web-6'].map((pod) => (counts.pods[pod] ?? 0) > 0),
    [true, true, true],
  );
  assert.ok(held.openKept >= 190, `${held.openKept} connections were kept`);
  assert.ok(rate >= 195, `only ${rate.toFixed(0)} new connections/s`);
});

for (const machine of ['director', 'n1'] as const) {
  test(`kill -9 and restart of the agent on ${machine} under load: nothing is lost, nothing is written`, async () => {
    const client = scene.steady(WEB, { perSecond: 50, kept: 20, pauseMs: 1000 });
    await waitFor('the load', async () => (await client.counts()).ok > 100);
    const agent = scene.agents[machine];
    const weights = [await scene.weights(WEB, 80), await scene.weights(FRAIL, 80)];
    const witness = await Witness.create(agent.namespace);
    await agent.end('SIGKILL');
    agent.start();
    const document = await agent.settled();
    // Long enough for a second thought: the connections that are looked at, the waits of a hand-over.
    await wait(3000);
    const events = await witness.close();
    assert.deepEqual(events, []);
    assert.equal((await agent.document())?.loop.written, 0);
    assert.equal(document.source.synced, true);
    assert.deepEqual([await scene.weights(WEB, 80), await scene.weights(FRAIL, 80)], weights);
    const counts = await client.stop();
    assert.equal(counts.failed, 0, JSON.stringify(counts.errors));
    table.add({
      name: `restart of the agent on ${machine}: kernel writes`,
      goal: '0',
      measured: `${document.loop.written}, ${events.length} kernel events`,
      met: true,
    });
  });
}

test('the API server is away while pods die: survivors answer, nothing healthy shrinks, the rest is caught up', async () => {
  const web = scene.steady(WEB, { perSecond: 50, kept: 40, pauseMs: 1000 });
  const frail = scene.steady(FRAIL, { perSecond: 20, kept: 40, pauseMs: 1000 });
  await waitFor('the connections to be kept', async () => (await frail.counts()).openKept >= 38);
  const before = await scene.weights(FRAIL, 80);
  const written = async (): Promise<number[]> =>
    Promise.all(Object.values(scene.agents).map(async (agent) => (await agent.document())?.loop.written ?? -1));
  const writtenBefore = await written();
  await scene.host.command({ op: 'stop-api-server' });
  const witnesses = await Promise.all([scene.agents.n1, scene.agents.n2].map((agent) => Witness.create(agent.namespace)));
  const watch = new ShrinkageWatch(
    scene,
    [WEB, FRAIL].map((address) => ({ address, port: 80 })),
  );
  const [dead, ever] = [new Set<string>(), new Set<string>()];
  const began = performance.now();
  for (let death = 0; (death + 1) * DEATH_EVERY < AWAY; death++) {
    await wait(Math.max(0, began + (death + 1) * DEATH_EVERY * 1000 - performance.now()));
    const name = `frail-${(death % FRAIL_PODS) + 1}`;
    // A kubelet starts containers again, with or without an API server; here when few are left.
    const [oldest] = dead;
    if (dead.size >= MOST_DEAD && oldest !== undefined) {
      await scene.topology.addPod(oldest, scene.topology.pods.get(oldest)!.node);
      dead.delete(oldest);
    }
    await scene.topology.pods.get(name)!.process.stop('SIGKILL');
    for (const pods of [dead, ever]) pods.add(name);
  }
  await wait(Math.max(0, began + AWAY * 1000 - performance.now()));
  const shrunk = await watch.stop();
  const events = (await Promise.all(witnesses.map((witness) => witness.close()))).flat();
  const writtenAfter = await written();
  const director = await scene.agents.director.document();
  const frailCounts = await frail.stop();
  await scene.host.command({ op: 'start-api-server' });
  // What the kubelets would say as soon as they can: these pods are not ready.
  for (const pod of dead) await scene.cluster.setPodReady(SHOP, pod, false);
  const alive = [...scene.topology.pods.values()].filter(({ name }) => name.startsWith('frail-') && !dead.has(name));
  const weights = { n1: alive.filter(({ node }) => node === 'n1').length, n2: alive.filter(({ node }) => node === 'n2').length };
  // The endpointslice controller has to come back, too: what counts for the agents begins with what the API says.
  await waitFor('the slices to say so', async () => (await scene.cluster.readyAddresses(SHOP, 'frail')).length === alive.length, 90_000);
  const back = performance.now();
  await scene.weightsBecome(FRAIL, 80, weights, 90_000);
  const caughtUp = (performance.now() - back) / 1000;
  // The realservers come back each at a time of its own, and until then go on with what they know.
  const fresh = await waitFor(
    'the dead pods to be asked no more',
    async () => {
      const counts = await scene.client(FRAIL, 80).requests(20);
      return counts.failed === 0 ? counts : undefined;
    },
    90_000,
  );
  const allCaughtUp = (performance.now() - back) / 1000;
  const webCounts = await web.stop();

  const survivorsLost = Object.keys(frailCounts.lost).filter((pod) => !ever.has(pod));
  table.add({
    name: `API server away for ${AWAY} s, a pod dies every ${DEATH_EVERY} s`,
    goal: '0 kernel writes that shrink a healthy VIP, 0 failed requests to survivors',
    measured: `${shrunk.length} of ${watch.looks} looks shrunk, ${events.length} nft/address events, ${webCounts.failed} of ${webCounts.ok + webCounts.failed} requests failed, ${survivorsLost.length} kept connections to survivors lost`,
    met: shrunk.length === 0 && webCounts.failed === 0 && survivorsLost.length === 0,
    note: `${ever.size} of ${FRAIL_PODS} pods of the other service died; weights caught up ${caughtUp.toFixed(1)} s after the API had it, no dead pod was asked after ${allCaughtUp.toFixed(1)} s; each agent tries again after 30 s at most`,
  });
  assert.deepEqual(shrunk, []);
  assert.deepEqual(events, []);
  assert.deepEqual(writtenAfter, writtenBefore);
  assert.equal(webCounts.failed, 0, JSON.stringify(webCounts.errors));
  assert.deepEqual(survivorsLost, []);
  // Negatives: the watch had looked at something, the deaths were noticed by their own clients, the outage by the agents.
  assert.deepEqual(before, { n1: 4, n2: 4 });
  assert.ok(watch.looks > AWAY, `${watch.looks} looks`);
  assert.ok(frailCounts.failed > 0, 'nobody missed the dead pods');
  assert.ok(
    director?.source.kubernetes?.watches.every(({ state, error }) => state !== 'watching' && error !== null) === true,
    'the director noticed nothing',
  );
  assert.deepEqual([fresh.ok, fresh.failed], [20, 0]);
});
