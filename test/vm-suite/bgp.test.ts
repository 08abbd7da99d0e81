/**
 * Two directors behind a router that spreads connections over both: agents in mode bgp, gobgpd beside them, BIRD and the
 * kernel's multipath routes as the router, and connections across it all that are held open while directors come and
 * go. What became of the connections is in the table of `make bench`.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { LabAgent } from '../lab/agent.ts';
import { gobgpPrograms, routerPrograms } from '../lab/bgp-daemons.ts';
import { directorFile, example, routerFile } from '../lab/bgp/documented.ts';
import { flowPod, HeldFlows, type FlowCounts } from '../lab/bgp/flows.ts';
import { Gobgpd } from '../lab/bgp/gobgp.ts';
import { kernelRoutes, sessionUp, type Router, type RouterSession } from '../lab/bgp/router.ts';
import { createTier, tierRouter, type Tier } from '../lab/bgp/tier.ts';
import { LabCluster } from '../lab/cluster.ts';
import { MeasuredRows } from '../lab/measured.ts';
import { waitFor } from '../lab/wait.ts';

const FLOWS = 500;
const PAUSE_MS = 2000;
const VIP = '198.51.100.10';
const VIP6 = '2001:db8:100::10';
const DRAIN_MS = 5000;
/** Of the flows, when a director dies. */
const MOST_RESET = 0.01;

const skip = [...gobgpPrograms(), ...routerPrograms()].map((each) => each.skip).find((reason) => reason !== false) ?? false;

/** The first has a gobgpd of version 3 with a file of its own, the second one of version 4 that its agent sets up, with BFD. */
const [first, second] = example.directors;

interface Director {
  readonly name: string;
  readonly address: string;
  readonly daemon: Gobgpd;
  readonly configuration: string | undefined;
  options: readonly string[];
  agent: LabAgent;
}

const measured = new MeasuredRows('bgp');
let tier: Tier;
let router: Router;
let cluster: LabCluster;
let directors: readonly [Director, Director];
let realservers: readonly LabAgent[] = [];
let flows: HeldFlows | undefined;

const common = ['--handover-delay=0s', `--bgp-drain=${DRAIN_MS / 1000}s`];

/** As its agent sets it up. An emulated CPU shared with others misses packets of BFD: it is there when it is needed. */
function neighbour(family: 4 | 6, bfd = ''): string {
  return `${example.router[family]},asn=${example.router.asn},hold=9s,keepalive=3s,connect-retry=1s,families=${family}${bfd}`;
}

function newAgent(which: 0 | 1, options: readonly string[]): LabAgent {
  return new LabAgent(tier.directors[which], 'bgp', cluster.path, options);
}

async function startDirector(director: Director): Promise<void> {
  if (!director.daemon.running) await director.daemon.start(director.configuration);
  director.agent.start();
  await director.agent.settled();
}

const hops = async (): Promise<string> => ((await kernelRoutes(tier.routerNamespace, 4)).get(`${VIP}/32`) ?? []).join(' ');

const routedBy = (...addresses: readonly string[]): Promise<true> =>
  waitFor(
    `routes by ${addresses.join(' and ')}`,
    async () => {
      const [found, wanted] = [await hops(), [...addresses].sort().join(' ')];
      if (found === wanted) return true;
      throw new Error(`routes by ${found}`);
    },
    120_000,
  );

function held(): HeldFlows {
  assert.ok(flows, 'the connections were opened');
  return flows;
}

/** Every flow has had an answer to a question that was asked after this call. */
async function allAnswer(): Promise<FlowCounts> {
  const begin = await held().counts();
  return waitFor('every flow to be answered', async () => {
    const counts = await held().counts();
    if (counts.waiting > 0 || counts.answered < begin.answered + 2 * counts.open) throw new Error(JSON.stringify(counts));
    return counts;
  });
}

const lost = ({ reset, closed, other }: FlowCounts): number => reset + closed + other;

const toldIn = (session: RouterSession): number => (session.told ?? 0) + (session.takenBack ?? 0);

/** Nothing was told to the router, on the very session. */
function silent(before: RouterSession, now: RouterSession): void {
  const words = ({ established, since, told, takenBack }: RouterSession): unknown => ({ established, since, told, takenBack });
  assert.deepEqual(words(now), words(before));
}

/** As a power cut: programs gone without a word, and the cable dead. */
async function powerCut(director: Director): Promise<void> {
  await tier.topology.plug(director.name, 'down');
  await director.agent.end('SIGKILL');
  await director.daemon.stop('SIGKILL');
}

async function powerBack(director: Director, which: 0 | 1): Promise<void> {
  await tier.topology.plug(director.name, 'up');
  director.agent = newAgent(which, director.options);
  await startDirector(director);
  await sessionUp(router, director.address, 120_000);
  await routedBy(first[4], second[4]);
}

before(async () => {
  if (skip !== false) return;
  const [three, four] = gobgpPrograms();
  tier = await createTier(flowPod);
  for (const [pod, node] of [['web-1', 'n1'] as const, ['web-2', 'n1'] as const, ['web-3', 'n2'] as const])
    await tier.topology.addPod(pod, node);
  cluster = new LabCluster(tier.topology);
  cluster.vips = { [VIP]: { 80: {} }, [VIP6]: { 80: {} } };
  cluster.write();
  const daemons = [new Gobgpd(tier.directors[0], three!), new Gobgpd(tier.directors[1], four!)] as const;
  const own = [
    `--bgp-endpoint=${daemons[1].tcpEndpoint}`,
    `--bgp-asn=${example.asn}`,
    `--bgp-router-id=${second[4]}`,
    `--bgp-peers=${neighbour(4)};${neighbour(6)}`,
  ];
  const options = [
    [...common, `--bgp-endpoint=${daemons[0].endpoint}`],
    [...common, ...own],
  ] as const;
  directors = [
    {
      ...{ name: 'director', address: first[4], daemon: daemons[0], configuration: directorFile(0) },
      ...{ options: options[0], agent: newAgent(0, options[0]) },
    },
    {
      ...{ name: 'director2', address: second[4], daemon: daemons[1], configuration: undefined },
      ...{ options: options[1], agent: newAgent(1, options[1]) },
    },
  ];
  router = tierRouter(tier, 'bird');
  await router.start(routerFile('bird'));
  const { n1, n2 } = tier.topology.hosts;
  realservers = [n1, n2].map((node) => new LabAgent(node, 'realserver', cluster.path, ['--handover-delay=0s']));
  // One after another: an emulated CPU takes long to start Node.js, and longer four times at once.
  for (const agent of realservers) {
    agent.start();
    await agent.settled();
  }
  for (const director of directors) await startDirector(director);
});

after(async () => {
  if (skip !== false) return;
  await flows?.close();
  for (const { agent } of directors) await agent.end('SIGKILL');
  for (const { daemon } of directors) await daemon.stop('SIGKILL');
  for (const agent of realservers) await agent.end();
  await router.stop();
  await tier.topology.close();
});

test(`${FLOWS} connections through both directors to all pods, in both families`, { skip }, async () => {
  for (const director of example.directors) for (const family of [4, 6] as const) await sessionUp(router, director[family], 120_000);
  await routedBy(first[4], second[4]);
  const routes6 = (await kernelRoutes(tier.routerNamespace, 6)).get(`${VIP6}/128`);
  assert.deepEqual(routes6, [first[6], second[6]].sort());
  flows = new HeldFlows(tier.outside, VIP, 80, FLOWS, PAUSE_MS);
  await waitFor('every connection', async () => (await held().counts()).opened === FLOWS);
  const counts = await allAnswer();
  assert.deepEqual([counts.open, lost(counts), Object.keys(counts.pods).sort()], [FLOWS, 0, ['web-1', 'web-2', 'web-3']]);
  for (const namespace of tier.directors) {
    const { stdout } = await namespace.run(['ipvsadm', '-Lnc']);
    const through = stdout.split('\n').filter((line) => line.includes('ESTABLISHED')).length;
    assert.ok(through > FLOWS / 4, `${namespace.name}: ${through} connections`);
  }
  const six = new HeldFlows(tier.outside, VIP6, 80, 20, 500);
  await waitFor('answers over IPv6', async () => (await six.counts()).answered >= 40);
  assert.equal(lost(await six.counts()), 0);
  await six.close();
  for (const { agent } of directors) {
    const document = await agent.document();
    assert.deepEqual(
      document?.vips.map(({ announced, reason }) => [announced, reason?.code ?? null]),
      [
        [true, null],
        [true, null],
      ],
    );
  }
});

test('an agent that ends, is killed, and starts again: nothing is told, no connection notices', { skip }, async () => {
  const before = await router.session(first[4]);
  const counted = await held().counts();
  const director = directors[0];
  await director.agent.end('SIGKILL');
  await allAnswer();
  silent(before, await router.session(first[4]));
  director.agent = newAgent(0, director.options);
  await startDirector(director);
  await waitFor('its routes to be known', async () => (await director.agent.document())?.vips.every(({ announced }) => announced === true));
  await allAnswer();
  const now = await router.session(first[4]);
  const lostNow = lost(await held().counts()) - lost(counted);
  measured.add({
    ...{ name: 'BGP: what an agent in mode bgp tells the router that is killed and starts again', value: toldIn(now) - toldIn(before) },
    ...{ unit: 'changes', goal: '0', met: toldIn(now) === toldIn(before) && lostNow === 0 },
    remark: `${lostNow} of ${FLOWS} held connections lost`,
  });
  silent(before, now);
  assert.equal(lostNow, 0);
});

test('a planned stop of a director resets no connection', { skip }, async () => {
  const director = directors[0];
  const session = await router.session(first[4]);
  await held().counts();
  const began = performance.now();
  const ending = director.agent.end('SIGTERM');
  await routedBy(second[4]);
  const moved = performance.now() - began;
  const marked = await router.session(first[4]);
  assert.deepEqual([marked.established, marked.takenBack], [true, session.takenBack], 'marked, and not taken back yet');
  assert.equal(await ending, 'status 0');
  const took = performance.now() - began;
  assert.ok(took >= DRAIN_MS, `${took} ms`);
  await waitFor('the routes to be taken back', async () => (await router.count(4)) === 1);
  await director.daemon.stop();
  const counts = await allAnswer();
  measured.add({
    ...{ name: 'BGP: planned stop of one of two directors behind BIRD', value: lost(counts), unit: `of ${FLOWS} connections lost` },
    ...{ goal: '0', met: lost(counts) === 0 && counts.open === FLOWS },
    remark: `the router went on without it after ${Math.round(moved)} ms, longest wait for an answer ${counts.longestMs} ms, emulated`,
  });
  assert.deepEqual([counts.open, lost(counts)], [FLOWS, 0]);
  director.agent = newAgent(0, director.options);
  await startDirector(director);
  await routedBy(first[4], second[4]);
  const back = await allAnswer();
  assert.deepEqual([back.open, lost(back)], [FLOWS, 0], 'and none when it comes back');
});

/** Pulls the plug and waits until the router goes on without; what became of the connections. */
async function powerLoss(which: 0 | 1, means: string): Promise<FlowCounts> {
  const other = example.directors[which === 0 ? 1 : 0];
  await allAnswer();
  const before = lost(await held().counts());
  const began = performance.now();
  await powerCut(directors[which]);
  await routedBy(other[4]);
  const took = performance.now() - began;
  await waitFor('no connection to wait', async () => (await held().counts()).waiting === 0, 120_000);
  const counts = await allAnswer();
  const gone = lost(counts) - before;
  measured.add({
    ...{ name: `BGP: one of two directors without power, noticed by ${means}`, value: gone, unit: `of ${FLOWS} connections lost` },
    ...{ goal: `<= ${MOST_RESET * 100} %`, met: gone <= MOST_RESET * FLOWS },
    remark: `the router went on without it after ${Math.round(took)} ms, emulated`,
  });
  assert.ok(gone <= MOST_RESET * FLOWS, JSON.stringify([means, counts]));
  return counts;
}

test(`a director that loses power, noticed by the hold timer: no more than ${MOST_RESET * 100} % are lost`, { skip }, async () => {
  const counts = await powerLoss(0, 'the hold timer of 9 s');
  await powerBack(directors[0], 0);
  assert.equal(lost(await allAnswer()), lost(counts), 'none when it comes back');
});

test(`a director that loses power, noticed by BFD: no more than ${MOST_RESET * 100} % are lost`, { skip }, async () => {
  const director = directors[1];
  const before = await router.session(second[4]);
  const bfd = ',bfd=300ms,bfd-multiplier=3';
  director.options = director.options.map((option) =>
    option.startsWith('--bgp-peers=') ? `--bgp-peers=${neighbour(4, bfd)};${neighbour(6)}` : option,
  );
  await director.agent.end('SIGKILL');
  director.agent = newAgent(1, director.options);
  await startDirector(director);
  await waitFor('BFD', () => router.bfdUp(director.address));
  silent(before, await router.session(second[4]));
  await powerLoss(1, 'BFD, 3 x 300 ms');
});
