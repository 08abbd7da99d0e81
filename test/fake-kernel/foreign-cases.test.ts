/** Named case C09: what is not ours stays as it is. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { desiredDirector } from '../../src/desired/director.ts';
import type { IpvsOperation, ServiceId } from '../../src/native/ipvs-types.ts';
import type { NftOperation } from '../../src/native/nftables-types.ts';
import { picture } from '../property/nat-history.ts';
import { API, defaults, destinationsOf, dnsAt, planDirector, runDirector, runRealserver, servicesOf, stateOf } from './fixture.ts';
import { FakeKernel } from './kernel.ts';
import { web, webId } from './cases.ts';

suite('C09 foreign state is untouchable', () => {
  const foreignIpvs: readonly IpvsOperation[] = [
    { op: 'addService', service: { protocol: 'tcp', address: '10.96.0.1', port: 443 }, spec: { scheduler: 'rr' } },
    {
      op: 'addDestination',
      service: { protocol: 'tcp', address: '10.96.0.1', port: 443 },
      destination: { address: '10.20.0.1', port: 6443 },
      spec: { forward: 'masquerade', weight: 1 },
    },
    { op: 'addService', service: { fwmark: 9, family: 'ipv4' }, spec: { scheduler: 'wlc' } },
  ];
  const foreignTable = { family: 'ip', name: 'nat' } as const;
  const foreignRules: readonly NftOperation[] = [
    { op: 'addTable', table: foreignTable },
    { op: 'addChain', table: foreignTable, chain: { name: 'RAVELIN' } },
    { op: 'addRule', table: foreignTable, rule: { chain: 'RAVELIN', statements: [{ kind: 'counter' }] } },
  ];

  async function machine(): Promise<FakeKernel> {
    const kernel = new FakeKernel();
    await kernel.ipvs.apply(foreignIpvs);
    kernel.links.applyAsOther([
      { op: 'addDummy', name: 'kube-ipvs0' },
      { op: 'addAddress', interface: 'kube-ipvs0', address: '10.96.0.1', prefix: 32 },
      { op: 'addDummy', name: 'nodelocaldns', up: true },
      { op: 'addAddress', interface: 'nodelocaldns', address: '169.254.20.10', prefix: 32 },
      { op: 'addDummy', name: 'dummy7' },
    ]);
    kernel.nftables.commitAsOther(foreignRules);
    return kernel;
  }

  async function foreignState(kernel: FakeKernel): Promise<unknown> {
    const links = (await kernel.links.links()).filter(({ name }) => name !== 'ravel0');
    const addresses = (await kernel.links.addresses()).filter(({ interfaceIndex }) => links.some(({ index }) => index === interfaceIndex));
    const services = [...(await servicesOf(kernel))]
      .filter(([key]) => !key.includes('192.0.2.'))
      .map(([key, service]) => [key, service.spec, destinationsOf(service)]);
    return { links, addresses, services, table: await picture(kernel.nftables, foreignTable) };
  }

  test('C09: nothing of others changes while our VIPs come, change and go', async () => {
    const kernel = await machine();
    const before = await foreignState(kernel);
    const two = { ...web, '192.0.2.11': { '53': dnsAt({ udpEnabled: true }) } };
    for (const state of [stateOf(web), stateOf(two), stateOf(two, { api: API.slice(1) }), stateOf(web), stateOf({})]) {
      await runDirector(kernel, state);
      await runRealserver(kernel, state, 'n1', { masquerade: { enabled: true } });
      assert.deepEqual(await foreignState(kernel), before);
    }
    assert.deepEqual([...(await servicesOf(kernel)).keys()].sort(), ['fwmark 9', 'tcp 10.96.0.1:443'], 'all of ours is gone');
  });

  test('C09: a foreign service in the place of ours is taken over and named', async () => {
    const kernel = new FakeKernel();
    await kernel.ipvs.apply([
      { op: 'addService', service: webId, spec: { scheduler: 'rr' } },
      {
        op: 'addDestination',
        service: webId,
        destination: { address: '10.50.1.2', port: 8080 },
        spec: { forward: 'local', weight: 1 },
      },
    ]);
    const desired = desiredDirector(stateOf(web), defaults);
    const { foreign, operations } = planDirector(desired, await kernel.ipvs.snapshot());
    assert.deepEqual(
      foreign.map(({ key, adopted }) => [key, adopted]),
      [['tcp 192.0.2.10:80', true]],
    );
    assert.match(foreign[0]?.message ?? '', /local/);
    assert.deepEqual((await kernel.ipvs.apply(operations.map(({ operation }) => operation))).failed, []);
    assert.deepEqual(planDirector(desired, await kernel.ipvs.snapshot()), { operations: [], foreign: [] });
  });

  test('C09: a foreign service on another port of our VIP is left alone and named', async () => {
    const kernel = new FakeKernel();
    const other: ServiceId = { protocol: 'tcp', address: '192.0.2.10', port: 8443 };
    await kernel.ipvs.apply([
      { op: 'addService', service: other, spec: { scheduler: 'rr' } },
      {
        op: 'addDestination',
        service: other,
        destination: { address: '10.50.1.2', port: 8443 },
        spec: { forward: 'local', weight: 1 },
      },
    ]);
    await runDirector(kernel, stateOf(web));
    const { foreign, operations } = planDirector(desiredDirector(stateOf(web), defaults), await kernel.ipvs.snapshot());
    assert.deepEqual([operations, foreign.map(({ key, adopted }) => [key, adopted])], [[], [['tcp 192.0.2.10:8443', false]]]);
    assert.equal((await servicesOf(kernel)).get('tcp 192.0.2.10:8443')?.destinations.length, 1);
  });
});
