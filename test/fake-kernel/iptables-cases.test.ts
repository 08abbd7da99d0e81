/** Cases C12 and C13 of a realserver with the iptables backend: the counterparts of those in nat-cases.test.ts. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { desiredRealserver } from '../../src/desired/realserver.ts';
import type { MasqueradePolicy } from '../../src/desired/types.ts';
import { IptablesNat } from '../../src/drivers/nat-iptables.ts';
import type { ClusterState } from '../../src/model/cluster.ts';
import { API, apiAt, dnsAt, stateOf } from './fixture.ts';
import { traceIptables } from './iptables-trace.ts';
import { FakeKernel } from './kernel.ts';

const client = '203.0.113.9';
const packetTo = (destination: string, port: number, protocol = 6, source = client) => ({ source, destination, protocol, port });
const web = { '192.0.2.10': { '80': apiAt() }, '192.0.2.11': { '8443': apiAt() } };

async function pass(kernel: FakeKernel, state: ClusterState, node = 'n1', masquerade: MasqueradePolicy = { enabled: false }) {
  const nat = new IptablesNat({ tables: kernel.iptables, chainPrefix: 'RAVEL' });
  return nat.apply(await nat.plan(desiredRealserver(state, node, { masquerade })));
}

const rules = (kernel: FakeKernel, chain: string): string[] | undefined => kernel.iptables.ip.dump()[chain];

suite('C12 with the iptables backend', () => {
  test('C12: each local pod gets a third, on both VIPs, from outside and from the node; the pod of another node gets nothing', async () => {
    const kernel = new FakeKernel();
    await pass(kernel, stateOf(web));
    for (const packet of [packetTo('192.0.2.10', 80), packetTo('192.0.2.11', 8443)]) {
      for (const from of ['PREROUTING', 'OUTPUT'] as const) {
        assert.deepEqual(
          traceIptables(kernel, packet, from).map(({ at, source, share }) => [at, source, share.toFixed(6)]),
          ['10.50.1.2:8080', '10.50.1.3:8080', '10.50.1.4:8080'].map((pod) => [pod, client, '0.333333']),
        );
      }
    }
    assert.ok(!JSON.stringify(kernel.iptables.dump()).includes('10.50.2.2'));
  });

  test('C12: names, order and probabilities; other ports, protocols and addresses pass untouched', async () => {
    const kernel = new FakeKernel();
    await pass(kernel, stateOf(web), 'n1', { enabled: true });
    const match = (vip: string, port: number) => `-d ${vip}/32 -p tcp -m tcp --dport ${port} -m comment --comment "shop/api:http"`;
    assert.deepEqual(rules(kernel, 'RAVEL'), [
      `${match('192.0.2.10', 80)} -j RAVEL-MASQ`,
      `${match('192.0.2.10', 80)} -j RAVEL-SVC-RUKNB3TURLFC6SGL`,
      `${match('192.0.2.11', 8443)} -j RAVEL-MASQ`,
      `${match('192.0.2.11', 8443)} -j RAVEL-SVC-RUKNB3TURLFC6SGL`,
    ]);
    assert.deepEqual(rules(kernel, 'RAVEL-SVC-RUKNB3TURLFC6SGL'), [
      '-m statistic --mode random --probability 0.33333333349 -j RAVEL-SEP-C3T25LG3VRROJZ4C',
      '-m statistic --mode random --probability 0.50000000000 -j RAVEL-SEP-EXJDSLQI5OY6EQPI',
      '-j RAVEL-SEP-AI4BQ7R5M34QSYGT',
    ]);
    for (const packet of [packetTo('192.0.2.10', 81), packetTo('192.0.2.10', 80, 17), packetTo('192.0.2.12', 80)]) {
      assert.deepEqual(traceIptables(kernel, packet), [{ at: `${packet.destination}:${packet.port}`, source: client, mark: 0, share: 1 }]);
    }
  });

  test('C12: a pod that calls its own VIP is masqueraded when it meets itself, and only then', async () => {
    const kernel = new FakeKernel();
    await pass(kernel, stateOf(web));
    assert.deepEqual(
      traceIptables(kernel, packetTo('192.0.2.10', 80, 6, '10.50.1.3')).map(({ at, source }) => [at, source]),
      [
        ['10.50.1.2:8080', '10.50.1.3'],
        ['10.50.1.3:8080', 'masqueraded'],
        ['10.50.1.4:8080', '10.50.1.3'],
      ],
    );
  });

  test('C12: a node without a pod has the skeleton only', async () => {
    const kernel = new FakeKernel();
    await pass(kernel, stateOf(web), 'n4');
    assert.deepEqual(kernel.iptables.ip.dump(), {
      ...{ INPUT: [], OUTPUT: ['-j RAVEL'], POSTROUTING: [], PREROUTING: ['-j RAVEL'] },
      ...{ RAVEL: [], 'RAVEL-MASQ': ['-j MARK --set-xmark 0x4000/0x4000'] },
    });
  });

  test('C12: udp has its own chains, in lower case; pods of the host network that share an address are one endpoint', async () => {
    const kernel = new FakeKernel();
    await pass(kernel, stateOf({ '192.0.2.11': { '53': dnsAt({ tcpEnabled: false, udpEnabled: true }) } }));
    assert.ok(rules(kernel, 'RAVEL-SVC-JLUUYCJAWZ2LAHMK'));
    assert.deepEqual(
      traceIptables(kernel, packetTo('192.0.2.11', 53, 17)).map(({ at }) => at),
      ['10.50.1.20:5353'],
    );
    const host = { ...API[0]!, address: '10.20.0.11' };
    const shared = new FakeKernel();
    await pass(shared, stateOf(web, { api: [host, host, { ...host }] }));
    assert.equal(Object.keys(shared.iptables.ip.dump()).filter((name) => name.startsWith('RAVEL-SEP-')).length, 1);
  });

  test('C12: unchanged, nothing is written; one pod more is one commit', async () => {
    const kernel = new FakeKernel();
    await pass(kernel, stateOf(web));
    kernel.journal.clear();
    assert.equal((await pass(kernel, stateOf(web))).written, 0);
    assert.equal(kernel.writes, 0);
    await pass(kernel, stateOf(web, { api: [...API, { ...API[0]!, address: '10.50.1.5' }] }));
    assert.equal(kernel.journal.calls.length, 1);
    assert.equal(traceIptables(kernel, packetTo('192.0.2.10', 80)).length, 4);
  });
});

suite('C13 with the iptables backend', () => {
  const sources = (kernel: FakeKernel, from = client): string[] => [
    ...new Set(traceIptables(kernel, packetTo('192.0.2.10', 80, 6, from)).map(({ source }) => source)),
  ];

  test('C13a: off, no rule of the base chain marks anything and pods see the client', async () => {
    const kernel = new FakeKernel();
    await pass(kernel, stateOf(web));
    assert.ok(rules(kernel, 'RAVEL')?.every((text) => !text.includes('MASQ')));
    assert.deepEqual(sources(kernel), [client]);
  });

  test('C13b: on, pods see the node; with a pod prefix only sources outside it', async () => {
    const kernel = new FakeKernel();
    await pass(kernel, stateOf(web), 'n1', { enabled: true });
    assert.deepEqual(sources(kernel), ['masqueraded']);
    await pass(kernel, stateOf(web), 'n1', { enabled: true, exceptSource: { address: '10.50.0.0', prefix: 16 } });
    assert.deepEqual(rules(kernel, 'RAVEL-MASQ'), ['! -s 10.50.0.0/16 -j MARK --set-xmark 0x4000/0x4000']);
    assert.deepEqual([sources(kernel), sources(kernel, '10.50.2.99')], [['masqueraded'], ['10.50.2.99']]);
  });

  test('C13c: chains, jumps and double rules of others stay, what is stale of ours goes, our jump is there once', async () => {
    const kernel = new FakeKernel();
    const { ip } = kernel.iptables;
    ip.append('PREROUTING', '-j cali-PREROUTING', '-j KUBE-SERVICES', '-j RAVEL', '-j RAVEL');
    ip.append('KUBE-MARK-DROP', '-j MARK --set-xmark 0x8000/0x8000', '-j MARK --set-xmark 0x8000/0x8000');
    ip.append('RAVELIN', '-p tcp -j RETURN');
    ip.append('RAVEL-SVC-OLD', '-j RETURN');
    ip.append('RAVEL');
    await pass(kernel, stateOf(web));
    assert.deepEqual(rules(kernel, 'PREROUTING'), ['-j cali-PREROUTING', '-j KUBE-SERVICES', '-j RAVEL']);
    assert.equal(rules(kernel, 'KUBE-MARK-DROP')?.length, 2);
    assert.deepEqual([rules(kernel, 'RAVELIN')?.length, rules(kernel, 'RAVEL-SVC-OLD')], [1, undefined]);
    kernel.journal.clear();
    await pass(kernel, stateOf(web));
    assert.equal(kernel.writes, 0);
  });
});
