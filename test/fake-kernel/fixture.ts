/** The cluster that the named cases share, and the two tiers of it on fake kernels. */
import assert from 'node:assert/strict';
import { desiredDirector, type DirectorOptions } from '../../src/desired/director.ts';
import { desiredRealserver, type RealserverOptions } from '../../src/desired/realserver.ts';
import type { DesiredDirector } from '../../src/desired/types.ts';
import { diffAddresses } from '../../src/diff/addresses.ts';
import type { IpvsPlan } from '../../src/diff/ipvs.ts';
import { ipvsDiffSteps } from '../../src/diff/ipvs.ts';
import { diffNat } from '../../src/diff/nat.ts';
import { runThrough } from '../../src/model/slices.ts';
import { readCluster, type ReadResult } from '../../src/model/cluster-file.ts';
import type { ClusterState, Endpoint, Node } from '../../src/model/cluster.ts';
import { destinationKey, toObjects } from '../../src/native/ipvs-columns.ts';
import type { IpvsSnapshot, Service } from '../../src/native/ipvs-types.ts';
import { readNat } from '../property/nat-history.ts';
import type { FakeKernel } from './kernel.ts';

const node = (name: string, address: string, rest: Partial<Node> = {}): Node => ({
  name,
  addresses: [address],
  labels: { pool: 'lb' },
  ready: true,
  unschedulable: false,
  ...rest,
});

export const NODES: readonly Node[] = [
  node('n1', '10.20.0.11'),
  node('n2', '10.20.0.12', { unschedulable: true }),
  node('n3', '10.20.0.13', { ready: false }),
  node('n4', '10.20.0.14', { labels: {} }),
];

export const n5 = node('n5', '10.20.0.15');

const endpoint = (address: string, port: number, portName: string, onNode: string, ready = true): Endpoint => ({
  address,
  port,
  portName,
  node: onNode,
  ready,
  terminating: false,
});

export const API: readonly Endpoint[] = [
  endpoint('10.50.1.2', 8080, 'http', 'n1'),
  endpoint('10.50.1.3', 8080, 'http', 'n1'),
  endpoint('10.50.1.4', 8080, 'http', 'n1'),
  endpoint('10.50.2.2', 8080, 'http', 'n2'),
  endpoint('10.50.1.9', 8080, 'http', 'n1', false),
];

const port = (name: string, number: number, protocol = 'tcp') => ({ name, port: number, protocol });

const SERVICES = [
  { namespace: 'shop', name: 'api', ports: [port('http', 8080)], endpoints: API },
  { namespace: 'dns', name: 'resolver', ports: [port('dns', 5353, 'udp')], endpoints: [endpoint('10.50.1.20', 5353, 'dns', 'n1')] },
  { namespace: 'shop', name: 'idle', ports: [port('http', 80)], endpoints: [] },
];

/** VIP → port → what is written there. */
export type Config = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>>;

export const apiAt = (extra: Readonly<Record<string, unknown>> = {}) => ({ namespace: 'shop', service: 'api', portName: 'http', ...extra });
export const dnsAt = (extra: Readonly<Record<string, unknown>> = {}) => ({
  namespace: 'dns',
  service: 'resolver',
  portName: 'dns',
  ...extra,
});

export interface FixtureOptions {
  readonly nodes?: readonly Node[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Replaces the endpoints of shop/api. */
  readonly api?: readonly Endpoint[];
}

/** The text of a cluster file, through the reader that the agent uses. */
export function read(config: Config, { nodes = NODES, labels = { pool: 'lb' }, api = API }: FixtureOptions = {}): ReadResult {
  const services = SERVICES.map((service) => (service.name === 'api' ? { ...service, endpoints: api } : service));
  const text = JSON.stringify({
    nodes,
    services: services.map((service) => ({ ...service, endpoints: service.endpoints.map(endpointInput) })),
    labels,
    config,
  });
  return runThrough(readCluster(text, { carrier: 'cluster' }));
}

function endpointInput({ terminating, ...rest }: Endpoint): Record<string, unknown> {
  return { ...rest, terminating };
}

export function stateOf(config: Config, options: FixtureOptions = {}): ClusterState {
  const { state, errors } = read(config, options);
  assert.deepEqual(errors, []);
  assert.ok(state);
  return state;
}

/** What the fixture says of cordons: they are ignored unless a case says otherwise. */
export const defaults: DirectorOptions = { ignoreCordon: true };

/** The same with a destination of weight 0 for each eligible node without pods (--ipvs-idle-destinations=keep). */
export const keeping: DirectorOptions = { ...defaults, idleDestinations: 'keep' };

const METHODS = { direct: 'DR', tunnel: 'TUN', masquerade: 'NAT', local: 'LOCAL' } as const;

/** `10.20.0.11:80 DR w3 x0 y0` for each destination, sorted. */
export function destinationsOf(service: Pick<Service, 'destinations'> | undefined): string[] {
  return (service?.destinations ?? [])
    .map(
      ({ id, spec }) =>
        `${destinationKey(id)} ${METHODS[spec.forward]} w${spec.weight} x${spec.upperThreshold ?? 0} y${spec.lowerThreshold ?? 0}`,
    )
    .sort();
}

/** What a director plans for a target on a table; its device holds the VIPs of the target and those in `placed`. */
export function planDirector(desired: DesiredDirector, observed: IpvsSnapshot, placed: readonly string[] = []): IpvsPlan {
  const vips = new Set([...desired.addresses, ...placed]);
  const ownership = {
    configured: (key: string) => desired.services.has(key) || desired.reasons.has(key),
    placed: (address: string) => vips.has(address),
    vip: (address: string) => vips.has(address),
  };
  return runThrough(ipvsDiffSteps({ desired: desired.services, observed, ownership }));
}

export const DEVICE = { name: 'ravel0', protocol: 82 } as const;

/** One whole pass of a director: device and addresses, IPVS, addresses that are no longer wanted. */
export async function runDirector(kernel: FakeKernel, state: ClusterState, options: DirectorOptions = defaults): Promise<void> {
  const desired = desiredDirector(state, options);
  const links = await kernel.links.links();
  const held = await kernel.links.addresses();
  const addresses = diffAddresses({ ...DEVICE, addresses: desired.addresses }, links, held);
  const device = links.find(({ name }) => name === DEVICE.name)?.index;
  const placed = held.filter(({ interfaceIndex }) => interfaceIndex === device).map(({ address }) => address);
  assert.deepEqual((await kernel.links.apply(addresses.up)).failed, []);
  const { operations } = planDirector(desired, await kernel.ipvs.snapshot(), placed);
  assert.deepEqual((await kernel.ipvs.apply(operations.map(({ operation }) => operation))).failed, []);
  assert.deepEqual((await kernel.links.apply(addresses.down)).failed, []);
}

/** One whole pass of the realserver on a node. */
export async function runRealserver(
  kernel: FakeKernel,
  state: ClusterState,
  nodeName: string,
  options: RealserverOptions = {},
): Promise<void> {
  const desired = desiredRealserver(state, nodeName, options);
  const addresses = diffAddresses({ ...DEVICE, addresses: desired.addresses }, await kernel.links.links(), await kernel.links.addresses());
  assert.deepEqual((await kernel.links.apply(addresses.up)).failed, []);
  for (const family of [4, 6] as const) {
    const { transactions } = diffNat(await readNat(kernel.nftables, family), desired);
    for (const operations of transactions) await kernel.nftables.commit(operations);
  }
  assert.deepEqual((await kernel.links.apply(addresses.down)).failed, []);
}

/** Virtual services by key, as the kernel lists them. */
export async function servicesOf(kernel: FakeKernel): Promise<Map<string, Service>> {
  const services = toObjects(await kernel.ipvs.snapshot());
  return new Map(
    services.map((service) => [
      'address' in service.id ? `${service.id.protocol} ${service.id.address}:${service.id.port}` : `fwmark ${service.id.fwmark}`,
      service,
    ]),
  );
}
