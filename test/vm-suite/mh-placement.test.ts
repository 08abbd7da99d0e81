/**
 * Two directors of one configuration that heard of it in another order: their kernels place connections alike.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { LabAgent } from '../lab/agent.ts';
import { listed, saved, source4, source6, Stage, vip4, vip6, writeCluster } from '../lab/directors.ts';
import type { Namespace } from '../lab/namespace.ts';
import { MeasuredRows } from '../lab/measured.ts';
import { compare, placements, sendSegments, type Compared } from '../lab/placement.ts';
import { waitFor } from '../lab/wait.ts';

/** As many connections as the acceptance of directors among several asks about. */
const many = 10_000;
/** Enough to see a difference in a hundred. */
const some = 2_000;

const agentOf = (namespace: Namespace, file: string): LabAgent =>
  new LabAgent(namespace, 'director', file, ['--handover-delay=0s', '--drain-timeout=0s', '--audit-interval=5s', '--allow-mass-removal']);

suite('placement by two directors', () => {
  const port = 80;
  /** Numbers whose addresses sort otherwise as text. */
  const numbers = Array.from({ length: 24 }, (_, at) => at + 90);
  const nodes = numbers.map((number) => ({ number, addresses: [`10.20.0.${number}`, `2001:db8:20::${number.toString(16)}`] }));
  const last: readonly (readonly [number, number])[] = numbers.map((number) => [number, (number % 3) + 1]);
  let stage: Stage;
  let agents: readonly LabAgent[];
  const files = ['/run/lab/one.json', '/run/lab/other.json'] as const;
  let firstPort = 1024;

  before(async () => {
    stage = await Stage.create(['one', 'other']);
    // Nodes that take everything and answer nothing.
    for (const director of stage.directors) {
      await director.ip(
        'link add nodes type dummy',
        'addr add 10.20.0.254/24 dev nodes',
        'addr add 2001:db8:20::fffe/64 dev nodes nodad',
        'link set nodes up',
      );
    }
    agents = stage.directors.map((director, at) => agentOf(director, files[at]!));
  });
  after(async () => {
    for (const agent of agents) await agent.end('SIGKILL');
    await stage.remove();
  });

  /** Both families have destinations with just these weights, whatever their order. */
  async function programmed(director: Namespace, weights: readonly (readonly [number, number])[]): Promise<void> {
    const wanted = weights
      .filter(([, weight]) => weight > 0)
      .flatMap(([number, weight]) => [`10.20.0.${number}:80 ${weight}`, `[2001:db8:20::${number.toString(16)}]:80 ${weight}`])
      .sort();
    await waitFor(
      `the destinations of ${director.name}`,
      async () => {
        const found = (await listed(director)).filter((line) => !line.startsWith('TCP')).sort();
        return JSON.stringify(found) === JSON.stringify(wanted);
      },
      120_000,
    );
  }

  /** The same connections at both, from ports that were not used before; per family. */
  async function placedByBoth(flows: number): Promise<Compared[]> {
    const found: Compared[] = [];
    for (const [source, vip] of [
      [source4, vip4],
      [source6, vip6],
    ] as const) {
      const seen: Map<string, string>[] = [];
      for (const director of stage.directors) {
        await stage.point(director);
        const asked = { source, firstPort, count: flows, vip, port };
        // A queue that is full drops some; what is there already stays where it is.
        seen.push(
          await waitFor(`${flows} connections at ${director.name}`, async () => {
            await sendSegments(stage.client, asked);
            const all = await placements(director, port);
            const own = new Map([...all].filter(([flow]) => within(flow, source.includes(':'), flows)));
            return own.size === flows ? own : undefined;
          }),
        );
      }
      found.push(compare(seen[0]!, seen[1]!));
    }
    firstPort += flows;
    return found;
  }

  const within = (flow: string, v6: boolean, count: number): boolean => {
    const number = Number.parseInt(flow.split(' ')[1] ?? '', 16);
    return flow.includes(':') === v6 && number >= firstPort && number < firstPort + count;
  };

  const alike = (both: number): Compared[] => [
    { both, differ: 0 },
    { both, differ: 0 },
  ];

  test('events in another order, and byte for byte the same table: 10,000 connections of each family go the same way', async () => {
    const [one, other] = stage.directors as [Namespace, Namespace];
    writeCluster(files[0], nodes, last, port);
    agents[0]!.start();
    await programmed(one, last);
    // The other one begins with a few, has them leave and come back with other weights, and is restarted on the way.
    const steps: (readonly [number, number])[][] = [
      last.filter(([number]) => number % 5 === 0),
      last.filter(([number]) => number % 2 === 1).map(([number]) => [number, 2] as const),
      last.filter(([number]) => number % 4 !== 0).toReversed(),
    ];
    writeCluster(files[1], nodes, steps[0]!, port);
    agents[1]!.start();
    await programmed(other, steps[0]!);
    writeCluster(files[1], nodes.toReversed(), steps[1]!, port);
    await programmed(other, steps[1]!);
    await agents[1]!.end('SIGKILL');
    writeCluster(files[1], nodes, steps[2]!, port);
    agents[1]!.start();
    await programmed(other, steps[2]!);
    writeCluster(files[1], nodes, last.toReversed(), port);
    await programmed(other, last);
    assert.deepEqual(await listed(other), await listed(one));
    const found = await placedByBoth(many);
    const differ = found.reduce((sum, each) => sum + each.differ, 0);
    new MeasuredRows('mh-placement').add({
      ...{ name: 'two directors, events in another order: 10,000 connections of each family, mh', value: differ },
      ...{ unit: 'placed otherwise', goal: '0', met: differ === 0 && found.every(({ both }) => both === many) },
    });
    assert.deepEqual(found, alike(many));
  });

  test('with the order spoiled by hand they differ, until the next look of the agent mends it', async (t) => {
    const [one, other] = stage.directors as [Namespace, Namespace];
    // It sees nothing of it yet.
    agents[1]!.process.child.kill('SIGSTOP');
    // ipvsadm lists by ascending address. In the other order each is taken out and put in again.
    const rules = (await saved(other)).split('\n').filter((line) => line.startsWith('-a'));
    const text = rules
      .toReversed()
      .flatMap((line) => [line.replace(/^-a (.* -r \S+) .*$/, '-d $1'), line])
      .join('\n');
    await other.run(['ipvsadm', '-R'], { input: `${text}\n` });
    assert.equal(await saved(other), await saved(one));
    assert.notDeepEqual(await listed(other), await listed(one));
    const spoiled = await placedByBoth(some);
    t.diagnostic(JSON.stringify(spoiled));
    for (const { both, differ } of spoiled) {
      assert.equal(both, some);
      assert.ok(differ > some / 1000, `${differ} differ`);
    }
    agents[1]!.process.child.kill('SIGCONT');
    await waitFor('the order to be mended', async () => JSON.stringify(await listed(other)) === JSON.stringify(await listed(one)), 120_000);
    assert.deepEqual(await placedByBoth(some), alike(some));
  });

  test('a destination that had weight before is in no table: emptied, or never more than 0', async () => {
    const [one, other] = stage.directors as [Namespace, Namespace];
    for (const agent of agents) await agent.end('SIGKILL');
    const rules = await saved(one);
    const target = rules.split('\n').find((line) => line.startsWith('-a') && line.includes(vip4))!;
    const named = target.replace(/^-a (.* -r \S+) .*$/, '$1');
    // In place: it keeps its places in the table.
    await one.run(['ipvsadm', '-R'], { input: `-e ${named} -g -w 0\n` });
    await other.run(['ipvsadm', '-R'], { input: `-d ${named}\n-a ${named} -g -w 0\n` });
    const [kept] = await placedByBoth(some);
    assert.ok(kept !== undefined && kept.differ > some / 1000, 'last_weight counts');
    await one.run(['ipvsadm', '-R'], { input: `-d ${named}\n-a ${named} -g -w 0\n` });
    assert.equal((await placedByBoth(some))[0]?.differ, 0, 'made anew it is forgotten');
  });
});
