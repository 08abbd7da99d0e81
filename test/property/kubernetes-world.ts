/** A small cluster, and everything that can happen to it and to the server that holds it. */
import fc from 'fast-check';
import { resources } from '../../src/kubernetes/api.ts';
import type { FakeApi } from '../fake-api/api.ts';
import type { Fault } from '../fake-api/faults.ts';
import { configMap, lease, node, service, slice } from '../fake-api/objects.ts';

export const serviceNames = ['keep', 'a', 'b'] as const;
export const nodeNames = ['keep', 'n1', 'n2'] as const;
export const followed = ['services', 'endpointslices', 'configmaps', 'nodes', 'leases'] as const;
type Followed = (typeof followed)[number];

const serviceShapes = ['plain', 'ports', 'headless', 'external', 'drain', 'remove'] as const;
/** `stray`: the slice is another Service's from now on. */
const sliceWays = ['put', 'put', 'replace', 'stray'] as const;
const nodeShapes = ['ready', 'notReady', 'cordoned', 'moved', 'remove'] as const;
const watchFaults = ['end', 'break', 'truncated', 'silence', '410', '500', '429', 'duplicate', 'reorder', 'bookmark'] as const;

export type Command =
  | { readonly do: 'service'; readonly index: number; readonly shape: (typeof serviceShapes)[number] }
  | {
      readonly do: 'slice';
      readonly index: number;
      readonly slice: number;
      readonly pods: readonly number[];
      readonly how: (typeof sliceWays)[number];
    }
  | { readonly do: 'removeSlice'; readonly index: number; readonly slice: number }
  | { readonly do: 'node'; readonly index: number; readonly shape: (typeof nodeShapes)[number] }
  | { readonly do: 'config'; readonly variant: number }
  | { readonly do: 'lease'; readonly index: number; readonly revision: number }
  | { readonly do: 'fail'; readonly verb: 'list' | 'watch'; readonly resource: Followed | '*'; readonly fault: Fault }
  | { readonly do: 'watch'; readonly resource: Followed; readonly fault: (typeof watchFaults)[number] }
  | { readonly do: 'garbage'; readonly resource: Followed; readonly document: unknown }
  | { readonly do: 'server'; readonly what: 'down' | 'up' | 'compact' | 'pages' | 'goneInStream' }
  | { readonly do: 'forbid' | 'allow'; readonly verb: 'list' | 'watch'; readonly resource: Followed }
  | { readonly do: 'advance'; readonly milliseconds: number };

// ── what the cluster holds ───────────────────────────────────────────────────────────

const webPort = { portName: 'http' };
const keepVip = { '192.0.2.1': { '80': { service: 'keep', ...webPort } } };

/** All good ones lead to `keep`; undefined: there is no ConfigMap. The last two are refused. */
export const configurations: readonly (string | undefined)[] = [
  JSON.stringify({ config: { ...keepVip, '192.0.2.2': { '80': { service: 'a', ...webPort }, '81': { service: 'b', ...webPort } } } }),
  JSON.stringify({
    config: { ...keepVip, '192.0.2.3': { '80': { service: 'b', ...webPort }, '82': { service: 'a', ...webPort } } },
    labels: { pool: 'lb' },
  }),
  JSON.stringify({ config: keepVip, vipPool: ['192.0.2.4'] }),
  undefined,
  '{"config": {"192.0.2.1": ',
  JSON.stringify({ config: { ...keepVip, 'not an address': {} } }),
];
/** The first of them, which lead to all Services: what nobody balances need not be published. */
const wholeConfigurations = 2;

function putService(api: FakeApi, name: string, shape: (typeof serviceShapes)[number]): void {
  if (shape === 'remove') api.store.remove(resources.services, `default/${name}`);
  else if (shape === 'headless') api.store.put(resources.services, service({ name, clusterIP: 'None' }));
  else if (shape === 'external') api.store.put(resources.services, service({ name, type: 'ExternalName' }));
  else if (shape === 'drain') api.store.put(resources.services, service({ name, annotations: { 'ravel.io/drain-timeout': '30s' } }));
  else api.store.put(resources.services, service({ name, ports: [{ name: 'http', port: shape === 'ports' ? 8081 : 80 }] }));
}

/** Pods 0..3 are shared by the slices of a Service, so that one may be in several. */
function sliceOf(name: string, index: number, pods: readonly number[], owner = name) {
  return slice({
    ...{ service: owner, name: `${name}-${index}` },
    endpoints: pods.map((pod) => ({
      address: `10.244.${serviceNames.indexOf(name as 'keep')}.${(pod & 3) + 1}`,
      node: nodeNames[pod % nodeNames.length] ?? 'n1',
      ready: (pod & 4) === 0,
      terminating: (pod & 8) !== 0,
    })),
  });
}

function putNode(api: FakeApi, index: number, shape: (typeof nodeShapes)[number]): void {
  const name = nodeNames[index] ?? 'n1';
  if (shape === 'remove') api.store.remove(resources.nodes, name);
  else {
    const address = `10.20.${shape === 'moved' ? 1 : 0}.${index + 1}`;
    const labels = { pool: 'lb' };
    api.store.put(resources.nodes, node({ name, address, labels, ready: shape !== 'notReady', unschedulable: shape === 'cordoned' }));
  }
}

export function putConfiguration(api: FakeApi, variant: number): void {
  const text = configurations[variant];
  if (text === undefined) api.store.remove(resources.configMaps, 'lb/ravel');
  else api.store.put(resources.configMaps, configMap('lb', 'ravel', { prod: text }));
}

/** Everything there is before anything happens. */
export function populate(api: FakeApi): void {
  for (const name of serviceNames) {
    putService(api, name, 'plain');
    for (const index of [0, 1]) api.store.put(resources.endpointSlices, sliceOf(name, index, [index, index + 2]));
  }
  nodeNames.forEach((_, index) => putNode(api, index, 'ready'));
  putConfiguration(api, 0);
  api.store.put(resources.leases, lease('lb', 'keep', '100'));
  // What belongs to others is not seen.
  api.store.put(resources.configMaps, configMap('lb', 'other', { prod: '{' }));
  api.store.put(resources.leases, { ...lease('lb', 'n1', '999'), metadata: { name: 'somebody-else', namespace: 'lb' } });
}

// ── what happens ─────────────────────────────────────────────────────────────────────

/** `keep` is never touched. */
const other = fc.integer({ min: 1, max: 2 });
const resource = fc.constantFrom(...followed);
const verb = fc.constantFrom('list' as const, 'watch' as const);

const nonsenseBodies = [{}, null, 'text', [], { metadata: { resourceVersion: '5' } }, { metadata: {}, items: [] }];
const nonsenseItems = [
  { metadata: { resourceVersion: '5' }, items: [null] },
  { metadata: { resourceVersion: '5' }, items: [{ metadata: {} }] },
];
const nonsenseDocuments = [
  ...[{}, null, 'text', 7, { type: 'SURPRISE', object: {} }, { type: 'ADDED' }, { type: 'ADDED', object: null }],
  ...[
    { type: 'DELETED', object: { metadata: { name: 'keep' } } },
    { type: 'BOOKMARK', object: {} },
    { type: 'ERROR', object: 'text' },
  ],
];

const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.constantFrom(403, 410, 500, 503).map((status) => ({ status })),
  fc.integer({ min: 0, max: 60 }).map((retryAfterSeconds) => ({ status: 429, retryAfterSeconds })),
  fc.constantFrom('ECONNREFUSED', 'ECONNRESET', 'CERT_HAS_EXPIRED').map((code) => ({ code })),
  fc.constantFrom(...nonsenseBodies, ...nonsenseItems).map((body) => ({ body })),
  fc.constantFrom(500, 5000, 40_000).map((delay) => ({ delay })),
  fc.constant({ ends: true } as const),
);

const pods = fc.uniqueArray(fc.nat(15), { maxLength: 4 });
const change: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ do: fc.constant('service' as const), index: other, shape: fc.constantFrom(...serviceShapes) }),
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('slice' as const), index: other, slice: fc.nat(2), pods, how: fc.constantFrom(...sliceWays) }),
  },
  fc.record({ do: fc.constant('removeSlice' as const), index: other, slice: fc.nat(2) }),
  fc.record({ do: fc.constant('node' as const), index: other, shape: fc.constantFrom(...nodeShapes) }),
  fc.record({ do: fc.constant('config' as const), variant: fc.nat(configurations.length - 1) }),
  fc.record({ do: fc.constant('lease' as const), index: other, revision: fc.integer({ min: 1, max: 300 }) }),
);
const trouble: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ do: fc.constant('fail' as const), verb, resource: fc.oneof(resource, fc.constant('*' as const)), fault }),
  { weight: 3, arbitrary: fc.record({ do: fc.constant('watch' as const), resource, fault: fc.constantFrom(...watchFaults) }) },
  fc.record({ do: fc.constant('garbage' as const), resource, document: fc.constantFrom(...nonsenseDocuments) }),
  fc.record({
    do: fc.constant('server' as const),
    what: fc.constantFrom('down' as const, 'up' as const, 'up' as const, 'compact' as const, 'pages' as const, 'goneInStream' as const),
  }),
  fc.record({ do: fc.constantFrom('forbid' as const, 'allow' as const), verb, resource }),
);
const advance: fc.Arbitrary<Command> = fc
  .constantFrom(0, 5, 30, 900, 1700, 10_000, 95_000)
  .map((milliseconds) => ({ do: 'advance', milliseconds }));

export const script: fc.Arbitrary<readonly Command[]> = fc.array(
  fc.oneof({ weight: 4, arbitrary: change }, { weight: 4, arbitrary: trouble }, { weight: 6, arbitrary: advance }),
  { minLength: 1, maxLength: 60, size: 'max' },
);

/** Makes it happen; time is not its business. */
export function perform(api: FakeApi, command: Command): void {
  const { store, faults } = api;
  switch (command.do) {
    case 'service': {
      putService(api, serviceNames[command.index] ?? 'a', command.shape);
      return;
    }
    case 'slice': {
      const name = serviceNames[command.index] ?? 'a';
      const object = sliceOf(name, command.slice, command.pods, command.how === 'stray' ? (name === 'a' ? 'b' : 'a') : name);
      if (command.how === 'replace') store.replace(resources.endpointSlices, object);
      else store.put(resources.endpointSlices, object);
      return;
    }
    case 'removeSlice':
      return void store.remove(resources.endpointSlices, `default/${serviceNames[command.index] ?? 'a'}-${command.slice}`);
    case 'node': {
      putNode(api, command.index, command.shape);
      return;
    }
    case 'config': {
      putConfiguration(api, command.variant);
      return;
    }
    case 'lease':
      return void store.put(resources.leases, lease('lb', nodeNames[command.index] ?? 'n1', String(command.revision)));
    case 'fail': {
      faults.add(command.verb, command.resource, command.fault);
      return;
    }
    case 'garbage':
      for (const watch of api.watching(command.resource)) watch.send(command.document);
      return;
    case 'watch':
      for (const watch of api.watching(command.resource)) {
        if (command.fault === 'end') watch.end();
        else if (command.fault === 'break') watch.break();
        else if (command.fault === 'truncated') watch.break('ETRUNCATED');
        else if (command.fault === 'silence') watch.silence();
        else if (command.fault === 'duplicate') watch.duplicate(2);
        else if (command.fault === 'reorder') watch.reorder(2);
        else if (command.fault === 'bookmark') watch.bookmark();
        else watch.error(Number(command.fault));
      }
      return;
    case 'server':
      if (command.what === 'compact') store.compact();
      else if (command.what === 'pages') api.pageSize = 2;
      else if (command.what === 'goneInStream') api.goneAs = api.goneAs === 'http' ? 'stream' : 'http';
      else api.down = command.what === 'down';
      return;
    case 'forbid': {
      faults.forbid(command.verb, command.resource);
      return;
    }
    case 'allow': {
      faults.allow(command.verb, command.resource);
      return;
    }
    case 'advance':
      return;
  }
}

/** Everything works again, and the newest configuration is a good one. */
export function heal(api: FakeApi, variant: number): void {
  api.faults.heal();
  api.down = false;
  api.onPage = undefined;
  putConfiguration(api, variant % wholeConfigurations);
}
