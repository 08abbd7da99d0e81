/** A director that runs pods itself: case C14, and what happens on the way. Both backends of translation rules. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { ClusterState, Endpoint } from '../../src/model/cluster.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { whole } from './cluster.ts';
import { API, apiAt, destinationsOf, NODES, servicesOf, stateOf, type FixtureOptions } from './fixture.ts';
import { traceIptables } from './iptables-trace.ts';
import { FakeKernel } from './kernel.ts';
import { freshKernel, Rig } from './rig.ts';
import { traceDirector, traceNode, type Arrival, type Packet } from './trace.ts';

const vip = '192.0.2.10';
const key = `tcp ${vip}:80`;
const config = { [vip]: { '80': apiAt() } };
const packet: Packet = { source: '198.51.100.7', destination: vip, protocol: 6, port: 80 };
const tracking = 'net/ipv4/vs/conntrack';

type Backend = 'nftables' | 'iptables';
const backends: readonly Backend[] = ['nftables', 'iptables'];

/** A machine whose IPVS can show its connections, and does not yet. */
function machine(): FakeKernel {
  const kernel = freshKernel();
  kernel.sysctls.values.set(tracking, '0');
  return kernel;
}

const rigOf = (colocation: AgentOptions['colocation'], kernel = machine(), options: Partial<AgentOptions> = {}, folder?: string): Rig =>
  new Rig('director', kernel, { nodeName: 'n1', colocation, ...options }, folder);

function shares(kernel: FakeKernel, backend: Backend, from = packet): Arrival[] {
  return backend === 'nftables' ? traceNode(kernel, from) : traceIptables(kernel, from);
}

const told = (arrivals: readonly Arrival[]): [string, string][] => arrivals.map(({ at, share }) => [at, share.toFixed(4)]);

const endpoint = (address: string, node: string, rest: Partial<Endpoint> = {}): Endpoint => ({
  ...{ address, port: 8080, portName: 'http', node, ready: true, terminating: false },
  ...rest,
});
const local = API.filter(({ node }) => node === 'n1');
const remote = API.filter(({ node }) => node === 'n2');

const state = (api: readonly Endpoint[], rest: FixtureOptions = {}): ClusterState => stateOf(config, { api, ...rest });
const changed = (api: readonly Endpoint[]) => ({
  ...whole(state(api)),
  change: { all: false, virtualServices: new Set([key]) } as const,
});

for (const backend of backends) {
  suite(`C14 colocated director share, ${backend}`, () => {
    test('C14: three of four pods are here: three quarters stay, n1 is no destination, each pod gets a quarter', async () => {
      const rig = rigOf(backend);
      await rig.publish(whole(state(API)));
      assert.deepEqual(rig.loop.status().failures, []);
      assert.deepEqual(destinationsOf((await servicesOf(rig.kernel)).get(key)), ['10.20.0.12:80 DR w1 x0 y0']);
      assert.deepEqual(told(shares(rig.kernel, backend)), [
        ['10.50.1.2:8080', '0.2500'],
        ['10.50.1.3:8080', '0.2500'],
        ['10.50.1.4:8080', '0.2500'],
        [`${vip}:80`, '0.2500'],
      ]);
      assert.deepEqual([...traceDirector(rig.kernel, packet)], [['10.20.0.12', 1]]);
      assert.equal(rig.composition.plane.status().vips[0]?.announced, true);
      await rig.kill();
    });

    test('C14: what is left to IPVS is not masqueraded, what stays is as the policy says', async () => {
      const rig = rigOf(backend, machine(), { masquerade: { enabled: true } });
      await rig.publish(whole(state(API)));
      for (const { at, source } of shares(rig.kernel, backend)) {
        assert.equal(source, at === `${vip}:80` ? packet.source : 'masqueraded', at);
      }
      if (backend === 'iptables') {
        const [left] = traceIptables(rig.kernel, packet).filter(({ at }) => at === `${vip}:80`);
        assert.deepEqual([left?.mark, left?.share.toFixed(4)], [0, '0.2500']);
      }
      await rig.kill();
    });

    test('C14: what is under way and forgotten by connection tracking goes on to IPVS: only what opens a connection draws', async () => {
      const later = { ...packet, opens: false };
      const rig = rigOf(backend, machine(), { masquerade: { enabled: true } });
      for (const api of [API, local]) {
        await rig.publish(whole(state(api)));
        assert.equal(
          shares(rig.kernel, backend).some(({ at }) => at === '10.50.1.2:8080'),
          true,
        );
        assert.deepEqual(
          shares(rig.kernel, backend, later).map(({ at, source, share }) => [at, source, share]),
          [[`${vip}:80`, packet.source, 1]],
        );
      }
      await rig.kill();
      // A realserver has nobody to leave them to, and connection tracking there sees both directions.
      const node = new Rig('realserver', freshKernel(), { nodeName: 'n1', natBackend: backend });
      await node.publish(whole(state(API)));
      assert.equal(
        shares(node.kernel, backend, later).some(({ at }) => at === `${vip}:80`),
        false,
      );
      await node.kill();
    });

    test('C14: all pods here: all connections stay, and IPVS has no such service', async () => {
      const rig = rigOf(backend);
      await rig.publish(whole(state(local)));
      assert.deepEqual(rig.kernel.ipvs.services(), []);
      assert.deepEqual(told(shares(rig.kernel, backend)), [
        ['10.50.1.2:8080', '0.3333'],
        ['10.50.1.3:8080', '0.3333'],
        ['10.50.1.4:8080', '0.3333'],
      ]);
      const status = rig.composition.plane.status();
      assert.deepEqual([status.vips[0]?.announced, [...status.reasons]], [true, []]);
      assert.deepEqual(
        status.local?.map((share) => [share.key, share.pods.length]),
        [[key, 3]],
      );
      await rig.kill();
    });

    test('C14: none here: IPVS has it all', async () => {
      const rig = rigOf(backend);
      await rig.publish(whole(state(remote)));
      assert.deepEqual(told(shares(rig.kernel, backend)), [[`${vip}:80`, '1.0000']]);
      assert.deepEqual([...traceDirector(rig.kernel, packet)], [['10.20.0.12', 1]]);
      await rig.kill();
    });

    test('C14: connection tracking is switched on for it, and put back when it is over', async () => {
      const rig = rigOf(backend);
      await rig.publish(whole(state(API)));
      assert.equal(rig.kernel.sysctls.values.get(tracking), '1');
      await rig.kill();
      const plain = rigOf('disabled', rig.kernel, {}, rig.folder);
      await plain.publish(whole(state(API)));
      assert.equal(rig.kernel.sysctls.values.get(tracking), '0');
      await plain.kill();
    });

    test('C14: without connection tracking every packet would draw: no share, a failure that names it, and IPVS alone', async () => {
      const kernel = freshKernel();
      kernel.sysctls.values.delete(tracking);
      const rig = rigOf(backend, kernel);
      await rig.publish(whole(state(API)));
      assert.deepEqual(told(shares(kernel, backend)), [[`${vip}:80`, '1.0000']]);
      assert.deepEqual([...traceDirector(kernel, packet)], [['10.20.0.12', 1]]);
      assert.deepEqual(
        rig.loop.status().failures.map(({ subject }) => subject),
        [tracking],
      );
      kernel.sysctls.values.set(tracking, '0');
      await rig.advance(30_000);
      assert.deepEqual(rig.loop.status().failures, []);
      assert.equal(shares(kernel, backend).length, 4);
      await rig.kill();
    });

    test('C14: without connection tracking nothing is drawn for where all pods are here', async () => {
      const kernel = freshKernel();
      kernel.sysctls.values.delete(tracking);
      const rig = rigOf(backend, kernel);
      await rig.publish(whole(state(local)));
      assert.equal(shares(kernel, backend).length, 3);
      await rig.kill();
    });

    test('C14: the flag that forbids tracking forbids shares', async () => {
      const rig = rigOf(backend, machine(), { ipvsSysctls: new Map([['conntrack', '0']]) });
      await rig.publish(whole(state(API)));
      assert.deepEqual(told(shares(rig.kernel, backend)), [[`${vip}:80`, '1.0000']]);
      await rig.kill();
    });

    test('nodes that have not confirmed their pods are no lot yet', async () => {
      const rig = rigOf(backend, machine(), { handoverMilliseconds: 1000 });
      await rig.publish(whole(state(local)));
      await rig.publish(changed(API));
      assert.equal(shares(rig.kernel, backend).length, 3, 'n2 waits');
      await rig.advance(1100);
      assert.equal(shares(rig.kernel, backend).length, 4);
      await rig.kill();
    });

    test('a change of a few is written where it is, and what is unchanged is not written again, neither by the audit nor after a restart', async () => {
      const rig = rigOf(backend);
      await rig.publish(whole(state(API)));
      await rig.publish(changed([...API, endpoint('10.50.2.3', 'n2')]));
      assert.deepEqual(
        told(shares(rig.kernel, backend)).map(([, share]) => share),
        ['0.2000', '0.2000', '0.2000', '0.4000'],
      );
      rig.kernel.journal.clear();
      await rig.advance(61_000);
      assert.equal(rig.kernel.writes, 0);
      await rig.kill();
      const again = rigOf(backend, rig.kernel, {}, rig.folder);
      await again.publish(whole(state([...API, endpoint('10.50.2.3', 'n2')])));
      assert.equal(rig.kernel.writes, 0);
      assert.equal(again.composition.plane.status().vips[0]?.announced, true);
      await again.kill();
    });

    test('the last pod here goes: IPVS takes all, and the rules go after it', async () => {
      const rig = rigOf(backend);
      await rig.publish(whole(state(API)));
      rig.kernel.journal.clear();
      await rig.publish(changed(remote));
      assert.deepEqual(told(shares(rig.kernel, backend)), [[`${vip}:80`, '1.0000']]);
      await rig.kill();
    });

    test('the last pod elsewhere goes: everything stays here before IPVS lets go', async () => {
      const rig = rigOf(backend);
      await rig.publish(whole(state(API)));
      rig.kernel.journal.clear();
      await rig.publish(changed(local));
      assert.equal(shares(rig.kernel, backend).length, 3);
      const order = rig.kernel.journal.calls.map(({ op }) => op.split('.')[0]);
      assert.ok(order.indexOf('ipvs') > order.indexOf(backend), order.join(' '));
      await rig.kill();
    });

    test('colocation that is switched off leaves no rules', async () => {
      const rig = rigOf(backend);
      await rig.publish(whole(state(API)));
      await rig.kill();
      const plain = rigOf('disabled', rig.kernel, { natBackend: 'auto' }, rig.folder);
      await plain.publish(whole(state(API)));
      assert.deepEqual(plain.loop.status().failures, []);
      assert.deepEqual(rig.kernel.nftables.dump(), new FakeKernel().nftables.dump());
      assert.deepEqual(
        Object.keys(rig.kernel.iptables.ip.dump()).filter((name) => name.startsWith('RAVEL')),
        [],
      );
      rig.kernel.journal.clear();
      await plain.advance(200_000);
      assert.ok(
        rig.kernel.journal.calls.every(({ op }) => !/^(nftables|iptables)/.test(op)),
        'and it is never looked for again',
      );
      await plain.kill();
    });
  });
}

suite('clients on a colocated director, nftables', () => {
  const quarters = ['10.50.1.2', '10.50.1.3', '10.50.1.4', '10.50.2.2'].map((address) => [`${address}:8080`, '0.2500']);
  const clients = [
    ['a process', { ...packet, source: vip, from: 'local' }],
    ['a pod', { ...packet, source: '10.50.1.77', from: 'cali0' }],
    ['a backend pod', { ...packet, source: '10.50.1.2', from: 'cali1' }],
  ] as const;

  for (const [who, from] of clients) {
    test(`${who} reaches all pods in equal shares, without IPVS`, async () => {
      const rig = rigOf('nftables', machine(), { insideAccess: 'cluster' });
      await rig.publish(whole(state(API)));
      assert.deepEqual(told(shares(rig.kernel, 'nftables', from)), quarters);
      assert.deepEqual(told(shares(rig.kernel, 'nftables')).at(-1), [`${vip}:80`, '0.2500'], 'clients outside are left to IPVS as ever');
      await rig.publish(changed(remote));
      assert.deepEqual(told(shares(rig.kernel, 'nftables', from)), [['10.50.2.2:8080', '1.0000']], 'none here');
      await rig.publish(changed(local));
      assert.equal(shares(rig.kernel, 'nftables', from).length, 3, 'all here');
      await rig.advance(3000);
      rig.kernel.journal.clear();
      await rig.advance(61_000);
      assert.equal(rig.kernel.writes, 0);
      await rig.kill();
    });
  }

  test('a process gets an answer: its address, the VIP, is replaced', async () => {
    const rig = rigOf('nftables', machine(), { insideAccess: 'cluster' });
    await rig.publish(whole(state(API)));
    const [, process] = clients[0];
    assert.deepEqual([...new Set(shares(rig.kernel, 'nftables', process).map(({ source }) => source))], ['masqueraded']);
    await rig.kill();
  });

  test('without access for the whole cluster what pods here do not get is left to IPVS', async () => {
    const rig = rigOf('nftables', machine(), { insideAccess: 'local' });
    await rig.publish(whole(state(API)));
    const [, pod] = clients[1];
    assert.deepEqual(told(shares(rig.kernel, 'nftables', pod)).at(-1), [`${vip}:80`, '0.2500']);
    await rig.kill();
  });
});

suite('flows to a colocated director', () => {
  const key53 = `udp ${vip}:53`;
  const dns = { [vip]: { '53': apiAt({ tcpEnabled: false, udpEnabled: true }) } };
  const from = (port: number) => ({
    ...({ protocol: 'udp', source: { address: '198.51.100.7', port } } as const),
    destination: { address: vip, port: 53 },
  });

  test('go on to pods here and through IPVS as they began, and leave a pod that is gone', async () => {
    const rig = rigOf('nftables');
    const { conntrack } = rig.kernel;
    await rig.publish(whole(stateOf(dns, { api: API })));
    conntrack.rules = ({ source }) =>
      source.port === 1000 ? { address: '10.50.1.2', port: 8080 } : source.port === 1001 ? { address: '10.50.1.3', port: 8080 } : undefined;
    for (const port of [1000, 1001, 1002]) conntrack.send(from(port));
    await rig.advance(2000);
    assert.equal(conntrack.table.length, 3, 'nothing has changed');
    const api = API.filter(({ address }) => address !== '10.50.1.2');
    await rig.publish({ ...whole(stateOf(dns, { api })), change: { all: false, virtualServices: new Set([key53]) } });
    await rig.advance(2000);
    assert.deepEqual(
      conntrack.table.map(({ original }) => original.source.port),
      [1001, 1002],
    );
    await rig.kill();
  });
});

suite('a director without colocation', () => {
  test('is no destination of itself, and says so where that leaves nothing', async () => {
    const rig = rigOf('disabled');
    await rig.publish(whole(state(API)));
    assert.deepEqual(destinationsOf((await servicesOf(rig.kernel)).get(key)), ['10.20.0.12:80 DR w1 x0 y0']);
    await rig.publish(whole(state(local)));
    await rig.advance(130_000);
    const reason = rig.composition.plane.status().reasons.get(key);
    assert.equal(reason?.code, 'NoEligibleNode');
    assert.match(reason.message, /on this director/);
    await rig.kill();
  });

  test('what cannot be looked at is told, and keeps nothing from its place', async () => {
    const kernel = machine();
    kernel.faults.failNext({ op: 'nftables.*', code: 'EPERM', times: Infinity });
    const rig = rigOf('disabled', kernel, { natBackend: 'nftables' });
    await rig.publish(whole(state(API)));
    assert.deepEqual(rig.loop.status().failures, []);
    assert.match(rig.composition.plane.status().warnings.join(), /may have left cannot be looked for.*EPERM/);
    assert.equal(rig.kernel.ipvs.services().length, 1);
    await rig.kill();
  });

  test('a machine without nf_tables is none the worse for it', async () => {
    const kernel = machine();
    kernel.withoutModule('nftables');
    kernel.withoutModule('iptables');
    const rig = rigOf('disabled', kernel, { natBackend: 'auto' });
    await rig.publish(whole(state(API, { nodes: NODES })));
    assert.deepEqual(rig.loop.status().failures, []);
    assert.doesNotMatch(rig.composition.plane.status().warnings.join(), /may have left/);
    assert.equal(rig.kernel.ipvs.services().length, 1);
    await rig.kill();
  });
});
