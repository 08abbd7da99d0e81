/** Named cases C12 and C13: from the text of a cluster file to the nat rules of a realserver. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { desiredDirector } from '../../src/desired/director.ts';
import { desiredRealserver } from '../../src/desired/realserver.ts';
import { diffNat } from '../../src/diff/nat.ts';
import { NAT_TABLE } from '../../src/diff/nat-layout.ts';
import { setsOf } from './nft-tables.ts';
import { readNat } from '../property/nat-history.ts';
import { API, apiAt, defaults, dnsAt, runRealserver, stateOf } from './fixture.ts';
import { FakeKernel } from './kernel.ts';
import { traceNode } from './trace.ts';
import { web, client, packetTo } from './cases.ts';

suite('C12 worker nat rules: local pods only', () => {
  const config = { '192.0.2.10': { '80': apiAt() }, '192.0.2.11': { '8443': apiAt() } };

  test('C12: each local pod gets a third, on both VIPs; the pod of another node gets nothing', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(config), 'n1');
    for (const packet of [packetTo('192.0.2.10', 80), packetTo('192.0.2.11', 8443)]) {
      assert.deepEqual(
        traceNode(kernel, packet).map(({ at, source, share }) => [at, source, share.toFixed(6)]),
        ['10.50.1.2:8080', '10.50.1.3:8080', '10.50.1.4:8080'].map((pod) => [pod, client, '0.333333']),
      );
    }
  });

  test('C12: other ports, protocols and addresses pass untouched', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(config), 'n1');
    for (const packet of [packetTo('192.0.2.10', 81), packetTo('192.0.2.10', 80, 17), packetTo('192.0.2.12', 80)]) {
      assert.deepEqual(traceNode(kernel, packet), [{ at: `${packet.destination}:${packet.port}`, source: client, share: 1 }]);
    }
  });

  test('C12: both VIPs share one chain; a single hook leads to it', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(config), 'n1');
    const table = kernel.nftables.table(NAT_TABLE);
    assert.deepEqual([...(table?.chains.keys() ?? [])].sort(), ['output', 'pods-tcp-3', 'postrouting', 'prerouting']);
    const looks = (chain: string) => table?.chains.get(chain)?.rules.map(({ rule }) => setsOf(rule.statements));
    assert.deepEqual([looks('prerouting'), looks('output')], Array(2).fill([['services'], ['inside']]));
    assert.equal(table?.sets.get('services')?.elements.size, 2);
  });

  test('C12: a pod that calls its own VIP is masqueraded when it meets itself, and only then', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(config), 'n1');
    assert.deepEqual(
      traceNode(kernel, packetTo('192.0.2.10', 80, 6, '10.50.1.3')).map(({ at, source }) => [at, source]),
      [
        ['10.50.1.2:8080', '10.50.1.3'],
        ['10.50.1.3:8080', 'masqueraded'],
        ['10.50.1.4:8080', '10.50.1.3'],
      ],
    );
  });

  test('C12: a node without a pod has the skeleton only, and says why', async () => {
    const kernel = new FakeKernel();
    const state = stateOf(config);
    await runRealserver(kernel, state, 'n4');
    assert.deepEqual([...(kernel.nftables.table(NAT_TABLE)?.chains.keys() ?? [])].sort(), ['output', 'postrouting', 'prerouting']);
    assert.deepEqual(traceNode(kernel, packetTo('192.0.2.10', 80)), [{ at: '192.0.2.10:80', source: client, share: 1 }]);
    const { reasons } = desiredRealserver(state, 'n4');
    assert.deepEqual(
      [...reasons.values()].map(({ code }) => code),
      ['NoLocalEndpoints', 'NoLocalEndpoints'],
    );
  });

  test('C12: udp', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf({ '192.0.2.11': { '53': dnsAt({ tcpEnabled: false, udpEnabled: true }) } }), 'n1');
    assert.deepEqual(traceNode(kernel, packetTo('192.0.2.11', 53, 17)), [{ at: '10.50.1.20:5353', source: client, share: 1 }]);
    assert.deepEqual(traceNode(kernel, packetTo('192.0.2.11', 53, 6)), [{ at: '192.0.2.11:53', source: client, share: 1 }]);
  });

  test('C12: pods of the host network that share an address are one endpoint', () => {
    const [pod] = API;
    assert.ok(pod);
    const host = { ...pod, address: '10.20.0.11' };
    const state = stateOf(web, { api: [host, host, { ...host }] });
    assert.deepEqual(desiredRealserver(state, 'n1').services.get('tcp 192.0.2.10:80')?.pods, [{ address: '10.20.0.11', port: 8080 }]);
    assert.equal(desiredDirector(state, defaults).services.get('tcp 192.0.2.10:80')?.destinations[0]?.spec.weight, 1);
  });

  test('C12: unchanged, nothing is written; one pod more is one transaction', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(config), 'n1');
    kernel.journal.clear();
    await runRealserver(kernel, stateOf(config), 'n1');
    assert.equal(kernel.writes, 0);
    const [pod] = API;
    assert.ok(pod);
    const more = desiredRealserver(stateOf(config, { api: [...API, { ...pod, address: '10.50.1.5' }] }), 'n1');
    const { transactions } = diffNat(await readNat(kernel.nftables), more);
    assert.equal(transactions.length, 1);
    await kernel.nftables.commit(transactions[0]!);
    assert.equal(traceNode(kernel, packetTo('192.0.2.10', 80)).length, 4);
  });
});

suite('C13 masquerade variants', () => {
  const marked = { enabled: true } as const;

  test('C13a: off, pods see the client; no rule marks anything, whatever the policy', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: marked });
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: { enabled: false } });
    const rules = [...(kernel.nftables.table(NAT_TABLE)?.chains.values() ?? [])].flatMap((chain) =>
      chain.rules.flatMap(({ rule }) => rule.statements),
    );
    assert.deepEqual(
      rules.filter(({ kind }) => kind === 'markOr' || kind === 'markIs'),
      [],
    );
    assert.deepEqual([...new Set(traceNode(kernel, packetTo('192.0.2.10', 80)).map(({ source }) => source))], [client]);
  });

  test('C13b: on, pods see the node', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: marked });
    assert.deepEqual([...new Set(traceNode(kernel, packetTo('192.0.2.10', 80)).map(({ source }) => source))], ['masqueraded']);
  });

  test('C13b: with a pod prefix, only sources outside it are masqueraded, by one rule', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: { enabled: true, exceptSource: { address: '10.50.0.0', prefix: 16 } } });
    const sources = (source: string) => [
      ...new Set(traceNode(kernel, packetTo('192.0.2.10', 80, 6, source)).map(({ source: seen }) => seen)),
    ];
    assert.deepEqual(sources(client), ['masqueraded']);
    assert.deepEqual(sources('10.50.2.99'), ['10.50.2.99']);
    assert.deepEqual(sources('10.51.0.1'), ['masqueraded']);
    const rules = kernel.nftables.table(NAT_TABLE)?.chains.get('postrouting')?.rules ?? [];
    assert.deepEqual(rules.find(({ rule }) => rule.comment === 'masquerade policy')?.rule.statements, [
      { kind: 'destinationTranslated' },
      { kind: 'inSet', key: ['ct original ip daddr'], set: 'addresses' },
      { kind: 'source', address: '10.50.0.0', prefix: 16, inverted: true },
      { kind: 'masquerade' },
    ]);
  });

  test('C13: a change of policy keeps every VIP working at each step', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: marked });
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: { enabled: false } });
    assert.deepEqual([...new Set(traceNode(kernel, packetTo('192.0.2.10', 80)).map(({ source }) => source))], [client]);
    assert.equal(kernel.nftables.table(NAT_TABLE)?.sets.get('addresses')?.elements.size, 1);
  });
});
