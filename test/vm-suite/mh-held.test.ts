/** What held connections notice when destinations are taken out and put in again for the sake of their order. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { LabAgent } from '../lab/agent.ts';
import { flowPod, HeldFlows } from '../lab/bgp/flows.ts';
import { listed, saved, Stage, vip4, writeCluster } from '../lab/directors.ts';
import { Namespace } from '../lab/namespace.ts';
import { LabProcess } from '../lab/process.ts';
import { POD_PORT } from '../lab/topology.ts';
import { waitFor } from '../lab/wait.ts';

type Weights = Readonly<Record<number, number>>;

const options = ['--handover-delay=0s', '--drain-timeout=0s', '--allow-mass-removal'];

suite('connections while destinations are put in order', () => {
  const numbers = [11, 12, 13, 14] as const;
  const nodes = numbers.map((number) => ({ number, addresses: [`10.20.${number}.2`] }));
  const file = '/run/lab/held.json';
  let stage: Stage;
  let agent: LabAgent;
  const pods: LabProcess[] = [];
  const machines: Namespace[] = [];

  before(async () => {
    stage = await Stage.create(['held']);
    const [director] = stage.directors as [Namespace];
    await stage.client.run(['sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0']);
    // A node has the VIP, packets from the director, and a way of its own to the client.
    for (const number of numbers) {
      const node = await Namespace.create(`n${number}`);
      machines.push(node);
      await node.run([
        'sysctl',
        '-qw',
        'net.ipv4.conf.all.rp_filter=0',
        'net.ipv4.conf.default.rp_filter=0',
        'net.ipv4.conf.all.arp_ignore=1',
      ]);
      await director.ip(
        `link add n${number} type veth peer name eth0 netns n${number}`,
        `addr add 10.20.${number}.1/24 dev n${number}`,
        `link set n${number} up`,
      );
      await stage.client.ip(
        `link add n${number} type veth peer name eth1 netns n${number}`,
        `addr add 10.30.${number}.1/24 dev n${number}`,
        `link set n${number} up`,
      );
      await node.ip(
        ...[`addr add 10.20.${number}.2/24 dev eth0`, 'link set eth0 up', `addr add 10.30.${number}.2/24 dev eth1`, 'link set eth1 up'],
        ...[`addr add ${vip4}/32 dev lo`, `route add default via 10.30.${number}.1`],
      );
      const pod = new LabProcess(node, `pod-n${number}`, flowPod(`n${number}`));
      assert.equal(await pod.line(), 'ready');
      pods.push(pod);
    }
    await stage.point(director);
    agent = new LabAgent(director, 'director', file, options);
  });
  after(async () => {
    await agent.end('SIGKILL');
    for (const pod of pods) await pod.stop('SIGKILL');
    await stage.remove();
    for (const machine of machines) await machine.remove();
  });

  const weightsOf = (weights: Weights): (readonly [number, number])[] =>
    Object.entries(weights).map(([number, weight]) => [Number(number), weight]);
  const others = { 12: 1, 13: 2, 14: 1 };
  const expire = async (director: Namespace): Promise<string> =>
    (await director.run(['sysctl', '-n', 'net.ipv4.vs.expire_nodest_conn'])).stdout.trim();

  /** `number x weight` of all destinations, in order. */
  async function holds(director: Namespace, wanted: readonly string[]): Promise<void> {
    await waitFor(
      `destinations ${wanted.join(' ')}`,
      async () => {
        const found = (await listed(director)).filter((line) => !line.startsWith('TCP'));
        return found.map((line) => line.replace(/^10\.20\.(\d+)\.2:\d+ (\d+)$/, '$1x$2')).join() === wanted.join();
      },
      60_000,
    );
  }

  test('nodes that come and go before all others: 300 held connections lose nothing', async (t) => {
    const [director] = stage.directors as [Namespace];
    writeCluster(file, nodes, weightsOf(others), POD_PORT);
    agent.start();
    await holds(director, ['14x1', '13x2', '12x1']);
    assert.equal(await expire(director), '1');
    const held = new HeldFlows(stage.client, vip4, POD_PORT, 300, 50);
    await waitFor('300 connections', async () => (await held.counts()).open === 300);
    const before = await held.counts();
    let longest = 0;
    for (let round = 0; round < 10; round++) {
      // The smallest address: all others are taken out, and put in before it.
      writeCluster(file, nodes, weightsOf({ 11: 1, ...others }), POD_PORT);
      await holds(director, ['14x1', '13x2', '12x1', '11x1']);
      writeCluster(file, nodes, weightsOf(others), POD_PORT);
      await holds(director, ['14x1', '13x2', '12x1']);
      longest = Math.max(longest, (await held.counts()).longestMs);
    }
    const after = await waitFor('answers after the last of it', async () => {
      const now = await held.counts();
      return now.answered > before.answered + 3000 && now.waiting === 0 ? now : undefined;
    });
    t.diagnostic(JSON.stringify({ ...after, longest }));
    assert.deepEqual(
      { open: after.open, reset: after.reset, closed: after.closed, other: after.other },
      { open: 300, reset: 0, closed: 0, other: 0 },
    );
    assert.equal(after.pods['n11'], undefined);
    assert.equal(await expire(director), '1', 'put back');
    // The counters of the destinations know their connections still.
    const { stdout } = await director.run(['ipvsadm', '-Ln']);
    const active = [...stdout.matchAll(/Route\s+\d+\s+(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
    assert.equal(active, 300);
    await held.close();
  });

  test('by hand, with expire_nodest_conn as it is, the same breaks connections', async (t) => {
    const [director] = stage.directors as [Namespace];
    await agent.end('SIGKILL');
    assert.equal(await expire(director), '1');
    const held = new HeldFlows(stage.client, vip4, POD_PORT, 300, 50);
    await waitFor('300 connections', async () => (await held.counts()).open === 300);
    const rules = (await saved(director)).split('\n').filter((line) => line.startsWith('-a'));
    const pairs = Array.from({ length: 60 }, (_, at) => rules[at % rules.length]!);
    const text = pairs.flatMap((line) => [line.replace(/^-a (.* -r \S+) .*$/, '-d $1'), line]).join('\n');
    await director.run(['ipvsadm', '-R'], { input: `${text}\n` });
    const broken = await waitFor('a connection to break', async () => {
      const now = await held.counts();
      return now.open < 300 ? now : undefined;
    });
    t.diagnostic(JSON.stringify(broken));
    await held.close();
  });
});
