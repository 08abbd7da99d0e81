/**
 * Connections that one director made are known to the other (--ipvs-sync), with the same destinations; ipvsadm is the witness. And whose
 * daemons are started, adopted and stopped.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { LabAgent } from '../lab/agent.ts';
import { source4, source6, Stage, vip4, vip6, writeCluster } from '../lab/directors.ts';
import type { Namespace } from '../lab/namespace.ts';
import { compare, placements, sendSegments } from '../lab/placement.ts';
import { waitFor } from '../lab/wait.ts';

const numbers = [11, 12, 13, 14] as const;
const nodes = numbers.map((number) => ({ number, addresses: [`10.20.0.${number}`, `2001:db8:20::${number}`] }));
const file = '/run/lab/sync.json';
const port = 80;
const count = 500;

const daemons = async (director: Namespace): Promise<string[]> =>
  (await director.run(['ipvsadm', '-L', '--daemon'])).stdout.split('\n').filter((line) => line.includes('sync daemon'));

/** What ipvsadm lists of connections. */
async function connections(director: Namespace): Promise<string[]> {
  const { stdout } = await director.run(['ipvsadm', '-Lnc']);
  return stdout.split('\n').filter((line) => line.startsWith('TCP'));
}

suite('connection synchronization of two directors', () => {
  let stage: Stage;
  let agents: readonly LabAgent[];
  const agentOf = (director: Namespace, ...more: readonly string[]): LabAgent =>
    new LabAgent(director, 'director', file, ['--handover-delay=0s', '--audit-interval=5s', ...more]);

  before(async () => {
    stage = await Stage.create(['left', 'right']);
    const [left, right] = stage.directors as [Namespace, Namespace];
    for (const director of stage.directors) {
      await director.ip(
        ...['link add nodes type dummy', 'addr add 10.20.0.254/24 dev nodes', 'addr add 2001:db8:20::fffe/64 dev nodes nodad'],
        'link set nodes up',
      );
    }
    await left.ip('link add sync0 type veth peer name sync0 netns right', 'addr add 10.99.0.1/24 dev sync0', 'link set sync0 up');
    await right.ip('addr add 10.99.0.2/24 dev sync0', 'link set sync0 up');
    writeCluster(
      file,
      nodes,
      numbers.map((number) => [number, 1]),
      port,
    );
    agents = stage.directors.map((director) => agentOf(director, '--ipvs-sync=sync0,id=7'));
    for (const agent of agents) agent.start();
    for (const agent of agents) await agent.settled();
  });
  after(async () => {
    for (const agent of agents) await agent.end('SIGKILL');
    await stage.remove();
  });

  test('both roles run on both', async () => {
    for (const director of stage.directors) {
      const found = await daemons(director);
      assert.match(found.find((line) => line.startsWith('master')) ?? '', /mcast=sync0, syncid=7/);
      assert.match(found.find((line) => line.startsWith('backup')) ?? '', /mcast=sync0, syncid=7/);
      assert.equal(found.length, 2);
    }
  });

  for (const [name, source, vip, first] of [
    ['IPv4', source4, vip4, 20_000],
    ['IPv6', source6, vip6, 30_000],
  ] as const) {
    test(`connections made at one are in the table of the other, with their destinations: ${name}`, async () => {
      const [left, right] = stage.directors as [Namespace, Namespace];
      await stage.point(left);
      const asked = { source, firstPort: first, count, vip, port };
      const own = (all: ReadonlyMap<string, string>): Map<string, string> =>
        new Map(
          [...all].filter(([flow]) => {
            const number = Number.parseInt(flow.split(' ')[1] ?? '', 16);
            return number >= first && number < first + count && flow.includes(':') === vip.includes(':');
          }),
        );
      // An established connection is told with its third packet (sync_threshold).
      const there = await waitFor(`${count} connections at the other`, async () => {
        await sendSegments(stage.client, asked, 'ack');
        const found = own(await placements(right, port));
        return found.size === count ? found : undefined;
      });
      assert.deepEqual(compare(own(await placements(left, port)), there), { both: count, differ: 0 });
      const listed = await connections(right);
      assert.ok(listed.filter((line) => line.includes('ESTABLISHED')).length >= count, listed.slice(0, 3).join('\n'));
    });
  }

  test('of another number nothing is taken', async () => {
    const [left, right] = stage.directors as [Namespace, Namespace];
    await agents[1]!.end();
    agents = [agents[0]!, agentOf(right, '--ipvs-sync=sync0,id=8')];
    agents[1]!.start();
    await agents[1]!.settled();
    assert.ok(
      (await daemons(right)).every((line) => line.includes('syncid=8')),
      'its own of before were replaced',
    );
    await stage.point(left);
    const before = (await connections(right)).length;
    for (let round = 0; round < 5; round++)
      await sendSegments(stage.client, { source: source4, firstPort: 40_000, count, vip: vip4, port }, 'ack');
    // The master on the left sends at the latest a second after (sync_buff is old after 2 s): its peer hears it meanwhile.
    await left.run(['sh', '-c', 'ipvsadm -Lnc | grep -c :40[0-9][0-9][0-9]']);
    await agents[1]!.end();
    agents = [agents[0]!, agentOf(right, '--ipvs-sync=sync0,id=7')];
    agents[1]!.start();
    await agents[1]!.settled();
    // The next ones arrive: whatever had been sent before them had its time.
    await waitFor('connections of the same number again', async () => {
      await sendSegments(stage.client, { source: source4, firstPort: 50_000, count, vip: vip4, port }, 'ack');
      return (await connections(right)).some((line) => / 198\.51\.100\.7:50\d\d\d /.test(line));
    });
    const after = await connections(right);
    assert.equal(after.filter((line) => / 198\.51\.100\.7:40\d\d\d /.test(line)).length, 0);
    assert.ok(after.length > 0 && before > 0);
  });

  test('an agent that starts again adopts its daemons', async () => {
    const [left] = stage.directors as [Namespace];
    const threads = async (): Promise<string> => (await left.run(['sh', '-c', "ps -eo pid,comm | grep ' ipvs-[mb]:' | sort"])).stdout;
    const before = await threads();
    assert.match(before, /ipvs-m:/);
    await agents[0]!.end();
    assert.equal(await threads(), before, 'they go on without it');
    agents[0]!.start();
    await agents[0]!.settled();
    assert.equal(await threads(), before, 'and are the same with it');
  });

  test('no longer asked for, they stop; cleanup stops them; those of others stay', async () => {
    const [left, right] = stage.directors as [Namespace, Namespace];
    for (const agent of agents) await agent.end();
    const without = agentOf(left);
    without.start();
    await without.settled();
    assert.deepEqual(await daemons(left), []);
    await without.end();
    await right.run(['ipvsadm', '--stop-daemon', 'backup']);
    await right.run(['ipvsadm', '--start-daemon', 'backup', '--mcast-interface', 'sync0', '--syncid', '99']);
    await agents[1]!.cleanup();
    const [other, ...more] = await daemons(right);
    assert.deepEqual(more, []);
    assert.match(other ?? '', /backup sync daemon .*syncid=99/);
  });
});
