/** One consistent {@link ClusterState} from the values of an input, or all that is wrong with them. */
import { sortAddresses } from './address.ts';
import { Check, usableAddress, type Steps } from './check.ts';
import { readBgp } from './bgp-config.ts';
import type { Address, ClusterState, Scheduler, ServiceKey, VirtualService } from './cluster.ts';
import { clusterConfigSchema, clusterFileSchema, mtuSchema } from './config-schema.ts';
import { checkNodes, checkServices } from './inventory.ts';
import { quote } from './problems.ts';
import type { Path, Report } from './problems.ts';
import { shapeOf } from './shape.ts';
import { isMap, tidyKeys } from './tidy.ts';
import {
  addDefaultListener,
  checkPoolVip,
  checkVirtualServices,
  Gathered,
  type DefaultListener,
  type Surroundings,
} from './virtual-services.ts';

export interface StateOptions {
  /**
   * `cluster`: nodes and Services are part of the input, and every target must be among them. `config`: the
   * input is the configuration alone, the cluster comes from elsewhere.
   */
  readonly carrier: 'cluster' | 'config';
  readonly defaultListener?: DefaultListener | undefined;
  /** Of virtual services that name none. Default: wrr. */
  readonly defaultScheduler?: Scheduler | undefined;
}

function objectShape(schema: typeof clusterConfigSchema | typeof clusterFileSchema): ReturnType<typeof shapeOf> & { kind: 'object' } {
  const shape = shapeOf(schema);
  if (shape.kind !== 'object') throw new TypeError('the top of a configuration is a map');
  return shape;
}

const topShapes = { cluster: objectShape(clusterFileSchema), config: objectShape(clusterConfigSchema) };
const mtuCheck = new Check(mtuSchema);

/** From Ethernet to the usual jumbo frames. What a tunnel leaves of less is worked out by the agent and not configured. */
const leastMtu = 1500;
const mostMtu = 9000;

/** Entries of a map, an absent one as empty. */
function entriesOf(value: unknown, path: Path, report: Report): [string, unknown][] {
  if (value === undefined || value === null) return [];
  if (isMap(value)) return Object.entries(value);
  report.error(path, 'must be a map');
  return [];
}

function* checkLabels(value: unknown, report: Report): Steps<Readonly<Record<string, string>>> {
  const labels: [string, string][] = [];
  for (const [key, text] of entriesOf(value, ['labels'], report)) {
    yield;
    if (report.isHopeless()) break;
    if (typeof text === 'string') labels.push([key, text]);
    else report.error(['labels', key], 'must be a text (in quotes where it looks like a number)');
  }
  return Object.fromEntries(labels);
}

function* checkMtu(
  value: unknown,
  root: 'mtuConfig' | 'mtuConfig6',
  mtu: Map<Address, number>,
  gathered: Gathered,
  report: Report,
): Steps<undefined> {
  const family = root === 'mtuConfig' ? 4 : 6;
  for (const [vip, item] of entriesOf(value, [root], report)) {
    yield;
    if (report.isHopeless()) return;
    const path = [root, vip];
    const address = usableAddress(vip, path, report);
    const bytes = mtuCheck.run(item, path, report);
    if (address === undefined || bytes === undefined) continue;
    const number = /^\d{1,9}$/.test(String(bytes)) ? Number(bytes) : NaN;
    if (address.includes(':') !== (family === 6))
      report.error(path, `${address} belongs into ${family === 4 ? 'mtuConfig6' : 'mtuConfig'}`);
    else if (!(number >= leastMtu && number <= mostMtu))
      report.add(
        'coercion',
        path,
        `an MTU is ${leastMtu} to ${mostMtu}, not ${typeof bytes === 'string' ? quote(bytes) : bytes}; it is not applied`,
      );
    else if (!gathered.addresses.has(address)) report.add('warning', path, `${address} is not a VIP of the configuration`);
    else if (mtu.has(address)) report.error(path, `the MTU of ${address} is written twice`);
    else mtu.set(address, number);
  }
}

function* checkPool(value: unknown, surroundings: Surroundings, report: Report): Steps<Address[]> {
  const pool: Address[] = [];
  if (value === undefined) return pool;
  if (!Array.isArray(value)) {
    report.error(['vipPool'], 'must be a list of addresses');
    return pool;
  }
  for (const [index, item] of (value as unknown[]).entries()) {
    yield;
    if (report.isHopeless()) break;
    const path = ['vipPool', index];
    if (typeof item !== 'string') report.error(path, 'must be an address in text');
    else {
      const address = checkPoolVip(item, path, surroundings, report);
      if (address !== undefined) pool.push(address);
    }
  }
  return pool;
}

/** Pairs of VIPs are for people only, but a wrong address is wrong all the same. */
function* checkPairs(value: unknown, report: Report): Steps<undefined> {
  for (const [vip, other] of entriesOf(value, ['ipv6'], report)) {
    yield;
    if (report.isHopeless()) return;
    usableAddress(vip, ['ipv6', vip], report);
    if (typeof other === 'string') usableAddress(other, ['ipv6', vip], report);
    else report.error(['ipv6', vip], 'must be an address in text');
  }
}

/** The way from a Service to the virtual services that lead to it. */
export function indexByService(virtualServices: Iterable<VirtualService>): Map<ServiceKey, VirtualService[]> {
  const index = new Map<ServiceKey, VirtualService[]>();
  for (const virtualService of virtualServices) {
    const list = index.get(virtualService.service);
    if (list === undefined) index.set(virtualService.service, [virtualService]);
    else list.push(virtualService);
  }
  // The order of the input must not show.
  for (const list of index.values()) if (list.length > 1) list.sort((a, b) => (a.key < b.key ? -1 : 1));
  return index;
}

/**
 * Reads the values of an input. What is found goes to the report; the result is undefined when an error
 * was among it. Order of keys and items does not matter to the result.
 */
export function* readClusterState(value: unknown, options: StateOptions, report: Report): Steps<ClusterState | undefined> {
  if (!isMap(value)) {
    report.error([], value === null ? 'there is nothing in it' : 'must be a map with config, services and nodes');
    return undefined;
  }
  const top = tidyKeys(value, topShapes[options.carrier], [], report);
  const { nodes, owners } = yield* checkNodes(top['nodes'], report);
  const services = yield* checkServices(top['services'], nodes, report);
  const { defaultListener, defaultScheduler } = options;
  const surroundings: Surroundings = { owners, defaultScheduler, services: options.carrier === 'cluster' ? services : undefined };

  const gathered = new Gathered();
  // An absent configuration would take down everything there is: that must be said with {}.
  if (top['config'] === undefined && top['config6'] === undefined) report.error(['config'], 'is missing; write {} for none');
  if (top['config'] !== undefined) yield* checkVirtualServices(top['config'], 4, surroundings, gathered, report);
  if (top['config6'] !== undefined) yield* checkVirtualServices(top['config6'], 6, surroundings, gathered, report);
  const pool = yield* checkPool(top['vipPool'], surroundings, report);
  if (defaultListener !== undefined) addDefaultListener(pool, defaultListener, gathered, defaultScheduler);
  const nodeLabels = yield* checkLabels(top['labels'], report);
  const mtu = new Map<Address, number>();
  yield* checkMtu(top['mtuConfig'], 'mtuConfig', mtu, gathered, report);
  yield* checkMtu(top['mtuConfig6'], 'mtuConfig6', mtu, gathered, report);
  yield* checkPairs(top['ipv6'], report);
  const bgp = yield* readBgp(top['bgp'], gathered.addresses, report);

  for (const [label, text] of Object.entries(nodeLabels)) {
    const carried = [...nodes.values()].some((node) => node.labels[label] === text);
    if (nodes.size > 0 && !carried)
      report.add('warning', ['labels', label], `no node carries ${quote(`${label}=${text}`)}: none can be a backend`);
  }
  if (report.errors > 0) return undefined;
  return {
    nodes,
    services,
    virtualServices: gathered.virtualServices,
    virtualServicesOf: indexByService(gathered.virtualServices.values()),
    addresses: sortAddresses(gathered.addresses.keys()),
    nodeLabels,
    mtu,
    ...(bgp === undefined ? {} : { bgp }),
  };
}
