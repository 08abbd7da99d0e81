/** The `nodes` and `services` of a file: what there is to balance over. */
import { Check, usableAddress, type Steps } from './check.ts';
import type { Address, ClusterService, DrainPolicy, Endpoint, Node, ServiceKey, ServicePort } from './cluster.ts';
import { nodeSchema, serviceSchema, type ServiceInput } from './config-schema.ts';
import { parseDrainSteps, parseDrainTimeout } from './drain.ts';
import { serviceKey } from './keys.ts';
import { didYouMean, formatPath, quote } from './problems.ts';
import type { Path, Report } from './problems.ts';

const nodeCheck = new Check(nodeSchema);
const serviceCheck = new Check(serviceSchema);

/** A list, an absent one as empty; undefined after telling that it is something else. */
function listOf(value: unknown, path: Path, report: Report): readonly unknown[] | undefined {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value as unknown[];
  report.error(path, 'must be a list');
  return undefined;
}

/** Nodes by name, and the paths of their addresses. */
export interface NodeInventory {
  readonly nodes: ReadonlyMap<string, Node>;
  /** Whose an address is. */
  readonly owners: ReadonlyMap<Address, string>;
}

export function* checkNodes(value: unknown, report: Report): Steps<NodeInventory> {
  const nodes = new Map<string, Node>();
  const owners = new Map<Address, string>();
  for (const [index, item] of (listOf(value, ['nodes'], report) ?? []).entries()) {
    yield;
    if (report.isHopeless()) break;
    const path = ['nodes', index];
    const input = nodeCheck.run(item, path, report);
    if (input === undefined) continue;
    const { name, address, addresses = [], labels = {}, ready = true, unschedulable = false } = input;
    if (nodes.has(name)) report.error([...path, 'name'], `node ${quote(name)} is listed twice`);
    const usable: Address[] = [];
    const texts: [string, Path][] = addresses.map((text, at) => [text, [...path, 'addresses', at]]);
    if (address !== undefined) texts.unshift([address, [...path, 'address']]);
    for (const [text, here] of texts) {
      const canonical = usableAddress(text, here, report);
      if (canonical === undefined || usable.includes(canonical)) continue;
      const owner = owners.get(canonical);
      if (owner !== undefined) report.error(here, `${canonical} is also an address of node ${quote(owner)}`);
      else owners.set(canonical, name);
      usable.push(canonical);
    }
    if (texts.length === 0) report.add('warning', path, `node ${quote(name)} has no address: it can get no traffic`);
    nodes.set(name, { name, addresses: usable, labels, ready, unschedulable });
  }
  return { nodes, owners };
}

function checkPorts(input: ServiceInput, path: Path, report: Report): ServicePort[] {
  const ports = (input.ports ?? []).map(({ name = '', port, protocol = 'tcp' }): ServicePort => ({ name, port, protocol }));
  const names = new Set<string>();
  for (const [index, { name }] of ports.entries()) {
    const here = [...path, 'ports', index];
    if (names.has(name)) report.error([...here, 'name'], `two ports are named ${quote(name)}`);
    else if (name === '' && ports.length > 1) report.error(here, 'needs a name, because the Service has more than one port');
    names.add(name);
  }
  return ports;
}

function checkEndpoints(
  input: ServiceInput,
  ports: readonly ServicePort[],
  nodes: ReadonlyMap<string, Node>,
  path: Path,
  report: Report,
): Endpoint[] {
  const endpoints: Endpoint[] = [];
  const seen = new Set<string>();
  const onlyPort = ports.length === 1 ? ports[0]?.name : undefined;
  for (const [index, item] of (input.endpoints ?? []).entries()) {
    const here = [...path, 'endpoints', index];
    const address = usableAddress(item.address, [...here, 'address'], report);
    if (address === undefined) continue;
    const { port, portName = onlyPort ?? '', node, ready = true, terminating = false, serving } = item;
    const id = `${address} ${port} ${portName}`;
    if (seen.has(id)) {
      report.add('warning', here, `${address} port ${port} is listed twice and counts once`);
      continue;
    }
    seen.add(id);
    if (ports.length > 0 && !ports.some((candidate) => candidate.name === portName)) {
      const names = ports.map((candidate) => candidate.name);
      report.add('warning', [...here, 'portName'], () => `the Service has no port ${quote(portName)}${didYouMean(portName, names)}`);
    }
    if (node !== undefined && !nodes.has(node)) {
      report.add('warning', [...here, 'node'], () => `there is no node ${quote(node)}${didYouMean(node, nodes.keys())}`);
    }
    endpoints.push({ address, port, portName, node, ready, terminating, ...(serving === undefined ? {} : { serving }) });
  }
  return endpoints;
}

/** The schema has refused what cannot be read. */
function drainOf({ drainTimeout, drainSteps }: ServiceInput): { drain?: DrainPolicy } {
  const timeoutMilliseconds = drainTimeout === undefined ? undefined : parseDrainTimeout(drainTimeout);
  const steps = drainSteps === undefined ? undefined : parseDrainSteps(drainSteps);
  if (timeoutMilliseconds === undefined && steps === undefined) return {};
  return { drain: { ...(timeoutMilliseconds === undefined ? {} : { timeoutMilliseconds }), ...(steps === undefined ? {} : { steps }) } };
}

export function* checkServices(
  value: unknown,
  nodes: ReadonlyMap<string, Node>,
  report: Report,
): Steps<ReadonlyMap<ServiceKey, ClusterService>> {
  const services = new Map<ServiceKey, ClusterService>();
  const places = new Map<ServiceKey, number>();
  for (const [index, item] of (listOf(value, ['services'], report) ?? []).entries()) {
    yield;
    if (report.isHopeless()) break;
    const path = ['services', index];
    const input = serviceCheck.run(item, path, report);
    if (input === undefined) continue;
    const { namespace = 'default', name } = input;
    const key = serviceKey(namespace, name);
    const place = places.get(key);
    if (place !== undefined) report.error([...path, 'name'], `Service ${key} is listed twice (also ${formatPath(['services', place])})`);
    places.set(key, index);
    const ports = checkPorts(input, path, report);
    services.set(key, { namespace, name, ports, endpoints: checkEndpoints(input, ports, nodes, path, report), ...drainOf(input) });
  }
  return services;
}
