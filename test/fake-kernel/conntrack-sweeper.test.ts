/** UDP senders that never pause, and a realserver whose pods come and go: when the table is looked at, and what is told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConntrackService } from '../../src/diff/conntrack.ts';
import { ConntrackDriver } from '../../src/drivers/conntrack.ts';
import type { ClusterState } from '../../src/model/cluster.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { virtualServiceKey } from '../../src/model/keys.ts';
import { ConntrackSweeper } from '../../src/reconcile/conntrack-sweeper.ts';
import { changed, cluster, whole } from './cluster.ts';
import { FakeConntrack } from './conntrack-table.ts';
import { FakeClock } from './fake-clock.ts';
import type { FakeKernel } from './kernel.ts';
import { collectingLog, Rig, type Line } from './rig.ts';

const VIP = '10.50.0.1';
const key = virtualServiceKey('udp', VIP, 53);

function udp(pods: readonly string[], protocol: 'udp' | 'tcp' = 'udp'): ClusterState {
  const state = cluster({ pods: { dns: pods }, vips: [[VIP, 53, 'dns']] });
  const [service] = [...state.virtualServices.values()].map((each) => ({
    ...each,
    protocol,
    key: virtualServiceKey(protocol, VIP, 53),
  }));
  return { ...state, virtualServices: new Map([[service!.key, service!]]), virtualServicesOf: new Map([['default/dns', [service!]]]) };
}

const client = { address: '203.0.113.9', port: 4000 };
const send = (kernel: FakeKernel, source = client) =>
  kernel.conntrack.send({ protocol: 'udp', source, destination: { address: VIP, port: 53 } }).address;

/** The rules as they are in the nftables maps of the node: the first pod of the VIP. */
function follow(kernel: FakeKernel): void {
  kernel.conntrack.rules = () => {
    const elements = [...(kernel.nftables.table({ family: 'ip', name: 'ravel' })?.sets.values() ?? [])].flatMap((set) => [
      ...(set as { spec: { name: string }; elements: ReadonlyMap<string, { value?: unknown }> }).elements.values(),
    ]);
    const pod = elements.map(({ value }) => value).find((value): value is [string, number] => Array.isArray(value));
    return pod === undefined ? undefined : { address: pod[0], port: pod[1] };
  };
}

const options: Partial<AgentOptions> = { handoverMilliseconds: 0 };

test('a sender that never pauses reaches the new pod with the pass that made the rule, and nobody else is touched', async () => {
  const rig = new Rig('realserver', undefined, options);
  follow(rig.kernel);
  await rig.publish(whole(udp(['n1'])));
  await rig.advance(200);
  assert.equal(send(rig.kernel), '10.244.1.1');
  const other = { protocol: 'udp', source: client, destination: { address: '10.96.0.10', port: 53 } } as const;
  rig.kernel.conntrack.send(other);
  await rig.publish(changed(udp(['n2', 'n1']), 'dns'));
  assert.equal(send(rig.kernel), '10.244.1.2');
  assert.equal(rig.kernel.conntrack.table.length, 2, 'the flow to somebody else’s address is there still');
  assert.deepEqual(rig.composition.plane.status().warnings, []);
  await rig.kill();
});

test('a virtual service that goes takes its flows along, also after a restart; an unchanged restart deletes nothing', async () => {
  const first = new Rig('realserver', undefined, options);
  follow(first.kernel);
  await first.publish(whole(udp(['n1'])));
  send(first.kernel);
  await first.kill();
  const same = new Rig('realserver', first.kernel, options, first.folder);
  first.kernel.journal.clear();
  await same.publish(whole(udp(['n1'])));
  await same.advance(61_000);
  assert.equal(first.kernel.writes, 0);
  await same.kill();
  const gone = new Rig('realserver', first.kernel, options, first.folder);
  await gone.publish(whole({ ...udp(['n1']), virtualServices: new Map() }));
  assert.deepEqual(first.kernel.conntrack.table, []);
  await gone.kill();
});

test('what slipped through while rules changed is found a second later; changes in a row are looked at every 200 ms', async () => {
  const rig = new Rig('realserver', undefined, options);
  follow(rig.kernel);
  await rig.publish(whole(udp(['n1'])));
  await rig.advance(5000);
  const looks = () => rig.kernel.conntrack.calls.filter((call) => call.startsWith('entries')).length;
  const before = looks();
  await rig.publish(changed(udp(['n2', 'n1']), 'dns'));
  rig.kernel.conntrack.rules = () => ({ address: '10.244.1.1', port: 8080 });
  send(rig.kernel);
  follow(rig.kernel);
  assert.equal(looks() - before, 1);
  await rig.advance(999);
  assert.equal(rig.kernel.conntrack.table.length, 1);
  await rig.advance(1);
  assert.deepEqual(rig.kernel.conntrack.table, []);
  assert.equal(looks() - before, 2);
  for (let turn = 0; turn < 20; turn += 1) {
    await rig.publish(changed(udp(turn % 2 === 0 ? ['n1'] : ['n2', 'n1']), 'dns'));
    await rig.advance(10);
  }
  assert.equal(looks() - before, 3, 'one in 200 ms');
  await rig.advance(1000);
  assert.equal(looks() - before, 4);
  await rig.kill();
});

test('looks never overlap, however many wait for a slow one', async () => {
  const clock = new FakeClock();
  let [running, most, looks] = [0, 0, 0];
  const ends: (() => void)[] = [];
  const slow = {
    retire: () => {},
    plan: async () => {
      looks += 1;
      most = Math.max(most, (running += 1));
      await new Promise<void>((resolve) => ends.push(resolve));
      running -= 1;
      return { services: [] };
    },
    apply: () => Promise.resolve({ written: 0, failures: [] }),
  } as unknown as ConntrackDriver;
  const sweeper = new ConntrackSweeper({ driver: slow, clock, log: collectingLog([]) });
  const asked = [sweeper.after(new Map())];
  for (let turn = 0; turn < 3; turn += 1) {
    await clock.advance(1000);
    asked.push(sweeper.after(new Map()));
  }
  for (let turn = 0; turn < 10; turn += 1) {
    for (const end of ends.splice(0)) end();
    await clock.advance(0);
  }
  await Promise.all(asked);
  sweeper.stop();
  assert.equal(most, 1);
  assert.equal(looks, 2, 'the one under way, and one for all that was asked for meanwhile');
});

test('TCP alone is never looked for', async () => {
  const rig = new Rig('realserver', undefined, options);
  await rig.publish(whole(udp(['n1'], 'tcp')));
  await rig.publish(changed(udp(['n1', 'n1'], 'tcp'), 'dns'));
  await rig.advance(61_000);
  assert.deepEqual(rig.kernel.conntrack.calls, []);
  await rig.kill();
});

test('a table that cannot be read is told in the status, keeps no rule from being written, and is over with the next look', async () => {
  const rig = new Rig('realserver', undefined, options);
  follow(rig.kernel);
  rig.kernel.faults.failNext({ op: 'conntrack.entries', code: 'EPERM', times: Infinity });
  await rig.publish(whole(udp(['n1'])));
  assert.deepEqual(rig.loop.status().failures, [], 'the rules are there');
  assert.match(rig.composition.plane.status().warnings.join(), /conntrack\.entries.*EPERM/);
  await rig.advance(5000);
  assert.equal(rig.lines.filter(({ level, message }) => level === 'warn' && message.includes('conntrack')).length, 1, 'logged once');
  rig.kernel.faults.heal();
  rig.kernel.withoutModule('conntrack');
  await rig.publish(changed(udp(['n1', 'n1']), 'dns'));
  assert.match(rig.composition.plane.status().warnings.join(), /senders that never pause may go on to pods that are gone/);
  rig.kernel.faults.heal();
  await rig.advance(1000);
  assert.deepEqual(rig.composition.plane.status().warnings, []);
  await rig.kill();
});

test('a client inside whose first packets found no pod reaches one that comes up elsewhere; flows of directors stay', async () => {
  const rig = new Rig('realserver', undefined, { ...options, insideAccess: 'cluster' });
  const { conntrack } = rig.kernel;
  await rig.publish(whole(udp(['n2'])));
  send(rig.kernel);
  await rig.advance(61_000);
  assert.equal(conntrack.table.length, 1, 'what a director sends here is not for the clients inside');
  await rig.publish(changed(udp([]), 'dns'));
  await rig.advance(5000);
  assert.equal(conntrack.table.length, 1);
  await rig.publish(changed(udp(['n2']), 'dns'));
  assert.deepEqual(conntrack.table, [], 'begun when there was no rule');
  send(rig.kernel);
  await rig.advance(1000);
  assert.deepEqual(conntrack.table, [], 'once more a second later');
  send(rig.kernel);
  await rig.advance(61_000);
  assert.equal(conntrack.table.length, 1, 'and no more');
  await rig.kill();
});

test('looks never overlap, and none comes after the end', async () => {
  const table = new FakeConntrack();
  const clock = new FakeClock(() => Promise.resolve());
  const lines: Line[] = [];
  let running = 0;
  const driver = new ConntrackDriver({
    entries: async (filter) => {
      assert.equal(++running, 1);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return table.entries(filter);
    },
    remove: (entries, rows) => table.remove(entries, rows),
  });
  const sweeper = new ConntrackSweeper({ driver, clock, log: collectingLog(lines) });
  const service: ConntrackService = { key, address: VIP, protocol: 17, port: 53, pods: [{ address: '10.1.1.1', port: 53 }] };
  await Promise.all([1, 2, 3].map(() => sweeper.after(new Map([[key, service]]))));
  const before = table.calls.length;
  sweeper.stop();
  await clock.advance(10_000);
  assert.equal(table.calls.length, before);
});
