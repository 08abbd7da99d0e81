import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterService, ClusterState } from '../../src/model/cluster.ts';
import { applyServiceChange, publish } from '../../src/model/publish.ts';
import { clusterInput, stateOf, type Json } from './model-input.ts';

function changedInput(path: readonly (string | number)[], value: Json): Record<string, Json> {
  const input = clusterInput();
  let at: unknown = input;
  for (const segment of path.slice(0, -1)) at = (at as Record<string | number, unknown>)[segment];
  (at as Record<string | number, Json>)[path.at(-1) ?? ''] = value;
  return input;
}

const first = (): ClusterState => publish(undefined, stateOf(clusterInput())).state;

test('the first publication is a change of everything', () => {
  assert.deepEqual(publish(undefined, stateOf(clusterInput())).change, { all: true });
});

test('the same again is the very same state, and no change', () => {
  const previous = first();
  const { state, change } = publish(previous, stateOf(clusterInput()));
  assert.equal(state, previous);
  assert.deepEqual(change, { all: false, virtualServices: new Set() });
});

test('an endpoint change names the virtual services of its Service and keeps all other objects', () => {
  const previous = first();
  const { state, change } = publish(previous, stateOf(changedInput(['services', 0, 'endpoints', 0, 'ready'], false)));
  assert.deepEqual(change, { all: false, virtualServices: new Set(['tcp 192.0.2.10:80', 'tcp [2001:db8::10]:80']) });
  assert.notEqual(state.services.get('shop/api'), previous.services.get('shop/api'));
  assert.equal(state.services.get('dns/resolver'), previous.services.get('dns/resolver'));
  assert.equal(state.nodes, previous.nodes);
  assert.equal(state.virtualServices, previous.virtualServices);
  assert.equal(state.virtualServicesOf, previous.virtualServicesOf);
  assert.equal(state.addresses, previous.addresses);
  assert.equal(state.mtu, previous.mtu);
  assert.equal(previous.services.get('shop/api')?.endpoints[0]?.ready, true);
});

test('an option change names that virtual service only, in the state and in its index', () => {
  const previous = first();
  const input = changedInput(['config', '192.0.2.10', '80', 'ipvsOptions'], { scheduler: 'lc' });
  const { state, change } = publish(previous, stateOf(input));
  assert.deepEqual(change, { all: false, virtualServices: new Set(['tcp 192.0.2.10:80']) });
  const changed = state.virtualServices.get('tcp 192.0.2.10:80');
  assert.equal(changed?.scheduler, 'lc');
  const index = state.virtualServicesOf.get('shop/api') ?? [];
  assert.equal(index[0], changed);
  assert.equal(index[1], previous.virtualServicesOf.get('shop/api')?.[1]);
  assert.equal(state.virtualServicesOf.get('dns/resolver'), previous.virtualServicesOf.get('dns/resolver'));
});

test('every option counts', () => {
  const path = ['config', '192.0.2.11', '53', 'ipvsOptions'];
  const options = (more: Record<string, Json>): Json => ({ persistenceSeconds: 60, ...more });
  const changes: readonly (readonly [Record<string, Json>, Record<string, Json>])[] = [
    [{}, { persistenceSeconds: 61 }],
    [{}, { persistencePrefix: 24 }],
    [{}, { onePacket: true }],
    [{}, { forwardingMethod: 'm' }],
    [{ forwardingMethod: 'm' }, { forwardingMethod: 'm', masqueradeSource: false }],
    [{ forwardingMethod: 'i' }, { forwardingMethod: 'i', tunnelType: 'gue' }],
    [
      { forwardingMethod: 'i', tunnelType: 'gue' },
      { forwardingMethod: 'i', tunnelType: 'gue', tunnelPort: 7 },
    ],
  ];
  for (const [before, after] of changes) {
    const previous = publish(undefined, stateOf(changedInput(path, options(before)))).state;
    const same = publish(previous, stateOf(changedInput(path, options(before))));
    assert.deepEqual(same.change, { all: false, virtualServices: new Set() }, JSON.stringify(before));
    const { change } = publish(previous, stateOf(changedInput(path, options(after))));
    assert.equal(change.all ? 0 : change.virtualServices.has('udp 192.0.2.11:53'), true, JSON.stringify(after));
  }
});

test('added and removed virtual services are named', () => {
  const entry: Json = { namespace: 'shop', service: 'api', portName: 'http' };
  const { change } = publish(first(), stateOf(changedInput(['config', '192.0.2.10'], { '81': entry })));
  assert.deepEqual(change, { all: false, virtualServices: new Set(['tcp 192.0.2.10:81', 'tcp 192.0.2.10:80']) });
});

test('a virtual service that moves to another Service is known under the new one only', () => {
  const entry: Json = { namespace: 'dns', service: 'resolver', portName: 'dns' };
  const { state } = publish(first(), stateOf(changedInput(['config', '192.0.2.10', '80'], entry)));
  assert.deepEqual(
    state.virtualServicesOf.get('shop/api')?.map(({ key }) => key),
    ['tcp [2001:db8::10]:80'],
  );
  assert.ok(state.virtualServicesOf.get('dns/resolver')?.some(({ key }) => key === 'tcp 192.0.2.10:80'));
});

test('nodes, labels, VIPs and MTU change everything', () => {
  for (const [path, value] of [
    [['nodes', 0, 'ready'], false],
    [['nodes', 0, 'labels'], {}],
    [['nodes', 0, 'addresses'], ['10.20.0.99']],
    [['labels'], { pool: 'lb' }],
    [['config', '192.0.2.99'], {}],
    [['mtuConfig'], { '192.0.2.10': '1600' }],
  ] as const) {
    assert.deepEqual(publish(first(), stateOf(changedInput(path, value as unknown as Json))).change, { all: true }, path.join('.'));
  }
});

test('applyServiceChange: a changed Service', () => {
  const previous = first();
  const old = previous.services.get('shop/api') as ClusterService;
  const { state, change } = applyServiceChange(previous, { ...old, endpoints: old.endpoints.slice(1) });
  assert.deepEqual(change, { all: false, virtualServices: new Set(['tcp 192.0.2.10:80', 'tcp [2001:db8::10]:80']) });
  assert.equal(state.services.get('shop/api')?.endpoints.length, 1);
  assert.equal(previous.services.get('shop/api'), old);
  assert.equal(state.virtualServices, previous.virtualServices);
});

test('applyServiceChange: nothing new is the very same state', () => {
  const previous = first();
  const old = previous.services.get('shop/api') as ClusterService;
  const same = applyServiceChange(previous, { ...old, endpoints: old.endpoints.map((endpoint) => ({ ...endpoint })) });
  assert.equal(same.state, previous);
  assert.deepEqual(same.change, { all: false, virtualServices: new Set() });
  assert.equal(applyServiceChange(previous, { deleted: 'no/such' }).state, previous);
});

test('applyServiceChange: a Service goes and comes', () => {
  const previous = first();
  const old = previous.services.get('shop/api') as ClusterService;
  const gone = applyServiceChange(previous, { deleted: 'shop/api' });
  assert.equal(gone.state.services.has('shop/api'), false);
  assert.equal(gone.state.services.size, 1);
  assert.deepEqual(gone.change, { all: false, virtualServices: new Set(['tcp 192.0.2.10:80', 'tcp [2001:db8::10]:80']) });
  const back = applyServiceChange(gone.state, old);
  assert.deepEqual(back.state, previous);
});

test('applyServiceChange: a Service that nothing leads to changes no virtual service', () => {
  const { state, change } = applyServiceChange(first(), { namespace: 'x', name: 'y', ports: [], endpoints: [] });
  assert.deepEqual(change, { all: false, virtualServices: new Set() });
  assert.equal(state.services.size, 3);
});

test('applyServiceChange takes states with ordinary maps', () => {
  const state = stateOf(clusterInput());
  assert.ok(state.services instanceof Map);
  const next = applyServiceChange(state, { deleted: 'shop/api' });
  assert.equal(next.state.services.size, 1);
  assert.equal(state.services.size, 2);
});
