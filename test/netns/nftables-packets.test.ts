/** Real packets through the rules: from a client over a node to pods, all of them namespaces. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Netns } from '../../src/native/netns.ts';
import { elementAt } from '../../src/native/nftables-columns.ts';
import { Nftables } from '../../src/native/nftables.ts';
import type { NftOperation } from '../../src/native/nftables-types.ts';
import { ask, Servers } from './nftables-ends.ts';
import {
  ADDRESSES,
  HAIRPIN,
  inside,
  podsOperations,
  serviceOperations,
  skeleton,
  SERVICES,
  TABLE,
  TCP,
  UDP,
  type Service,
} from './nftables-support.ts';

const VIP = '192.0.2.10';
const CLIENT = '10.9.0.2';
const POD1 = '10.1.1.2';
const POD2 = '10.1.2.2';
/** The node's address on the wire to the first pod. */
const GATEWAY1 = '10.1.1.1';

let node: Netns, client: Netns, pod1: Netns, pod2: Netns;
let nftables: Nftables;
const servers = new Servers();

/** A wire from the node to a namespace that routes everything over it. */
function wire(name: string, to: Netns, near: string, far: string): void {
  inside(node, ['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', to.path]);
  inside(node, ['ip', 'address', 'add', `${near}/24`, 'dev', name]);
  inside(node, ['ip', 'link', 'set', name, 'up']);
  inside(to, ['ip', 'address', 'add', `${far}/24`, 'dev', 'eth0']);
  inside(to, ['ip', 'link', 'set', 'eth0', 'up']);
  inside(to, ['ip', 'route', 'add', 'default', 'via', near]);
}

function counted<Value>(values: readonly Value[]): Map<Value, number> {
  const counts = new Map<Value, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

const web: Service = {
  address: VIP,
  protocol: TCP,
  port: 80,
  pods: [
    [POD1, 8080],
    [POD1, 8081],
    [POD2, 8080],
  ],
};
const self: Service = { address: VIP, protocol: TCP, port: 81, pods: [[POD1, 8080]] };
const names: Service = {
  address: VIP,
  protocol: UDP,
  port: 53,
  pods: [
    [POD1, 5353],
    [POD2, 5353],
  ],
};

/** The whole table anew, so that no test inherits counters or rules. */
async function program(
  services: readonly Service[],
  extra: readonly NftOperation[] = [],
  except?: { address: string; prefix: number },
): Promise<void> {
  const chains = new Set(services.map(({ protocol, pods }) => `${protocol} ${pods.length}`));
  await nftables.commit([
    { op: 'addTable', table: TABLE },
    { op: 'deleteTable', table: TABLE },
    ...skeleton(),
    ...[...chains].flatMap((text) => {
      const [protocol = 0, count = 0] = text.split(' ').map(Number);
      return podsOperations(protocol, count, except);
    }),
    ...services.flatMap(serviceOperations),
    ...extra,
  ]);
}

/** Packets and bytes that the element of a service has counted. */
async function counter(service: Service): Promise<{ packets: number; bytes: number }> {
  const columns = await nftables.elements(TABLE, SERVICES.name);
  const wanted = [service.address, service.protocol, service.port].join();
  const row = Array.from({ length: columns.count }, (_, k) => k).find((k) => elementAt(SERVICES, columns, k).key.join() === wanted)!;
  return { packets: columns.packets[row]!, bytes: columns.bytes[row]! };
}

before(async () => {
  [node, client, pod1, pod2] = await Promise.all([Netns.create(), Netns.create(), Netns.create(), Netns.create()]);
  inside(node, ['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward']);
  wire('toclient', client, '10.9.0.1', CLIENT);
  wire('topod1', pod1, GATEWAY1, POD1);
  wire('topod2', pod2, '10.1.2.1', POD2);
  nftables = await Nftables.open({ netns: node });
  await servers.start(pod1, 'tcp', '0.0.0.0', 8080, 'pod1');
  await servers.start(pod1, 'tcp', '0.0.0.0', 8081, 'pod1-second');
  await servers.start(pod2, 'tcp', '0.0.0.0', 8080, 'pod2');
  await servers.start(pod1, 'udp', '0.0.0.0', 5353, 'pod1');
  await servers.start(pod2, 'udp', '0.0.0.0', 5353, 'pod2');
});

after(async () => {
  await servers.stop();
  await nftables.close();
  await Promise.all([node, client, pod1, pod2].map((netns) => netns.close()));
});

test('without rules nobody answers for the VIP', async () => {
  await nftables.commit([
    { op: 'addTable', table: TABLE },
    { op: 'deleteTable', table: TABLE },
  ]);
  inside(node, ['ip', 'route', 'replace', 'unreachable', VIP]);
  const [answer] = await ask(client, 'tcp', VIP, 80, 1);
  assert.match(answer?.error ?? '', /EHOSTUNREACH|ENETUNREACH|ECONNREFUSED|ETIMEDOUT|no answer/);
});

test('connections are spread evenly over the slots, keep the client address and are counted', async () => {
  await program([web, self]);
  const answers = await ask(client, 'tcp', VIP, 80, 450);
  const spread = counted(answers.map(({ name, error }) => name ?? error));
  assert.deepEqual([...spread.keys()].sort(), ['pod1', 'pod1-second', 'pod2']);
  // 450 draws of 1 in 3: mean 150, standard deviation 10; six of them are one failure in 500 million.
  for (const [name, count] of spread) assert.ok(count > 90 && count < 210, `${String(name)}: ${count} of 450`);
  assert.deepEqual([...new Set(answers.map(({ from }) => from))], [CLIENT]);
  // The nat hook sees the first packet of a connection only: a SYN without data, 60 bytes.
  assert.deepEqual(await counter(web), { packets: 450, bytes: 450 * 60 });
  assert.deepEqual(await counter(self), { packets: 0, bytes: 0 });
});

test('datagrams are spread, too', async () => {
  await program([names]);
  const answers = await ask(client, 'udp', VIP, 53, 100);
  const spread = counted(answers.map(({ name, error }) => name ?? error));
  assert.deepEqual([...spread.keys()].sort(), ['pod1', 'pod2']);
  // Mean 50, standard deviation 5.
  for (const [name, count] of spread) assert.ok(count > 20 && count < 80, `${String(name)}: ${count} of 100`);
  assert.equal((await counter(names)).packets, 100);
});

test('a pod that calls its own VIP gets an answer, as the node', async () => {
  const hairpin: NftOperation = { op: 'addElements', table: TABLE, set: HAIRPIN, elements: [{ key: [POD1, POD1] }] };
  await program([self], [hairpin]);
  assert.deepEqual(await ask(pod1, 'tcp', VIP, 81, 3), Array(3).fill({ name: 'pod1', from: GATEWAY1 }));
  // Another pod is no hairpin, so it is seen as itself.
  assert.deepEqual(await ask(pod2, 'tcp', VIP, 81, 1), [{ name: 'pod1', from: POD2 }]);
});

test('without the hairpin element it gets none', async () => {
  await program([self]);
  const [answer] = await ask(pod1, 'tcp', VIP, 81, 1);
  assert.ok(answer?.error !== undefined, JSON.stringify(answer));
});

test('the masquerade policy hides the client, but not the excepted sources', async () => {
  const vip: NftOperation = { op: 'addElements', table: TABLE, set: ADDRESSES, elements: [{ key: [VIP] }] };
  await program([self], [vip], { address: '10.1.0.0', prefix: 16 });
  assert.deepEqual(await ask(client, 'tcp', VIP, 81, 1), [{ name: 'pod1', from: GATEWAY1 }]);
  assert.deepEqual(await ask(pod2, 'tcp', VIP, 81, 1), [{ name: 'pod1', from: POD2 }]);
});

test('an endpoint that is replaced in one transaction takes the next connections', async () => {
  await program([self]);
  assert.deepEqual(await ask(client, 'tcp', VIP, 81, 1), [{ name: 'pod1', from: CLIENT }]);
  const set = {
    name: 'endpoints',
    key: ['ipv4_addr', 'inet_proto', 'inet_service', 'slot'],
    value: ['ipv4_addr', 'inet_service'],
  } as const;
  const key = [VIP, TCP, 81, 0];
  await nftables.commit([
    { op: 'deleteElements', table: TABLE, set, elements: [{ key }] },
    { op: 'createElements', table: TABLE, set, elements: [{ key, value: [POD2, 8080] }] },
  ]);
  assert.deepEqual(await ask(client, 'tcp', VIP, 81, 2), Array(2).fill({ name: 'pod2', from: CLIENT }));
});
