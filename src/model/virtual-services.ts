/** The `config` and `config6` of an input: which VIP and port leads to which Service. */
import { addressFamily } from './address.ts';
import { Check, familyName, usableAddress, type Steps } from './check.ts';
import type { Address, ClusterService, Scheduler, ServiceKey, VirtualService } from './cluster.ts';
import { entrySchema, type EntryInput } from './config-schema.ts';
import { serviceKey, virtualServiceKey } from './keys.ts';
import { defaultOptions, normaliseOptions } from './options.ts';
import { didYouMean, formatPath, quote } from './problems.ts';
import type { Path, Report } from './problems.ts';
import { isMap } from './tidy.ts';

const entryCheck = new Check(entrySchema);

/** What virtual services are checked against. */
export interface Surroundings {
  /** Whose an address is. */
  readonly owners: ReadonlyMap<Address, string>;
  /** Of virtual services that name none; undefined: as the model has it. */
  readonly defaultScheduler?: Scheduler | undefined;
  /** undefined: the Services are not part of the input, so a missing one is no error. */
  readonly services: ReadonlyMap<ServiceKey, ClusterService> | undefined;
}

/** What the virtual services of one input are gathered in. */
export class Gathered {
  readonly virtualServices = new Map<string, VirtualService>();
  /** VIP to the first place it is written at. */
  readonly addresses = new Map<Address, Path>();
  /** `VIP port` to the place it is written at. */
  readonly ports = new Map<string, Path>();

  add(
    address: Address,
    port: number,
    protocol: VirtualService['protocol'],
    rest: Omit<VirtualService, 'key' | 'address' | 'port' | 'protocol'>,
  ): void {
    const key = virtualServiceKey(protocol, address, port);
    this.virtualServices.set(key, { key, address, port, protocol, ...rest });
  }
}

/** 1..65535 from the text of a key; undefined after telling what is wrong with it. */
function checkPort(text: string, path: Path, report: Report): number | undefined {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : NaN;
  if (port >= 1 && port <= 65535) {
    if (text === String(port)) return port;
    report.error(path, `a port has no leading zeros, did you mean "${port}"?`);
  } else if (/^[-+]?[0-9]+$/.test(text)) {
    report.error(path, `port ${quote(text)} is out of range: 1 to 65535`);
  } else {
    report.error(path, `${quote(text)} is not a port: 1 to 65535`);
  }
  return undefined;
}

/** A VIP must be an address of the map's family, be usable, and belong to nobody else. */
function checkVip(text: string, family: 4 | 6, path: Path, surroundings: Surroundings, report: Report): Address | undefined {
  const found = addressFamily(text);
  if (found !== undefined && found !== family) {
    const [map, right] = family === 4 ? ['config', 'config6'] : ['config6', 'config'];
    report.error(path, `${familyName(text)} address in the ${family === 4 ? 'IPv4' : 'IPv6'} map ${map}: it belongs into ${right}`);
    return undefined;
  }
  const address = usableAddress(text, path, report);
  if (address === undefined) return undefined;
  const owner = surroundings.owners.get(address);
  if (owner === undefined) return address;
  report.error(path, `the VIP ${address} is also an address of node ${quote(owner)}`);
  return undefined;
}

function checkTarget(entry: EntryInput, key: ServiceKey, path: Path, surroundings: Surroundings, report: Report): void {
  const { services } = surroundings;
  if (services === undefined) return;
  const service = services.get(key);
  if (service === undefined) {
    report.error([...path, 'service'], () => {
      // A wrong namespace is as likely as a wrong name; neither is searched for in a huge cluster.
      const candidates = services.size > 1000 ? [] : [...services.keys()];
      return `there is no Service ${key}${didYouMean(key, candidates)}`;
    });
    return;
  }
  const portName = entry.portName ?? '';
  const names = service.ports.map((port) => port.name);
  if (names.includes(portName)) return;
  const has = names.length === 0 ? 'it has none' : `it has ${names.map(quote).join(', ')}`;
  report.add('warning', [...path, 'portName'], () => `Service ${key} has no port ${quote(portName)} (${has}): nothing is balanced here`);
}

const protocols = [
  { protocol: 'tcp', key: 'tcpEnabled', fallback: true },
  { protocol: 'udp', key: 'udpEnabled', fallback: false },
  { protocol: 'sctp', key: 'sctpEnabled', fallback: false },
] as const;

function addEntry(
  address: Address,
  port: number,
  entry: EntryInput,
  path: Path,
  { defaultScheduler }: Surroundings,
  gathered: Gathered,
  report: Report,
): void {
  const { namespace = 'default', service, portName = '' } = entry;
  const enabled = protocols.filter(({ key, fallback }) => entry[key] ?? fallback).map(({ protocol }) => protocol);
  if (enabled.length === 0) report.add('warning', path, 'none of TCP, UDP and SCTP is enabled: nothing is balanced here');
  const context = { family: address.includes(':') ? 6 : 4, udp: enabled.includes('udp'), defaultScheduler } as const;
  const options =
    entry.ipvsOptions === undefined
      ? defaultOptions(defaultScheduler)
      : normaliseOptions(entry.ipvsOptions, context, (severity, key, message) =>
          report.add(severity, [...path, 'ipvsOptions', key], message),
        );
  const { onePacket, ...common } = { service: serviceKey(namespace, service), portName, ...options };
  for (const protocol of enabled)
    gathered.add(address, port, protocol, protocol === 'udp' && onePacket ? { ...common, onePacket } : common);
}

function checkEntry(
  address: Address | undefined,
  port: number | undefined,
  value: unknown,
  path: Path,
  surroundings: Surroundings,
  gathered: Gathered,
  report: Report,
): void {
  const entry = entryCheck.run(value, path, report);
  if (entry === undefined) return;
  checkTarget(entry, serviceKey(entry.namespace ?? 'default', entry.service), path, surroundings, report);
  if (address === undefined || port === undefined) return;
  const id = `${address} ${port}`;
  const first = gathered.ports.get(id);
  if (first !== undefined) {
    report.error(path, `${address} port ${port} is written twice: also ${formatPath(first)}`);
    return;
  }
  gathered.ports.set(id, path);
  addEntry(address, port, entry, path, surroundings, gathered, report);
}

/** All of `config` or `config6`. */
export function* checkVirtualServices(
  value: unknown,
  family: 4 | 6,
  surroundings: Surroundings,
  gathered: Gathered,
  report: Report,
): Steps<undefined> {
  const root = family === 4 ? 'config' : 'config6';
  if (!isMap(value)) {
    report.error([root], 'must be a map from VIPs to ports; {} for none');
    return;
  }
  for (const [vip, ports] of Object.entries(value)) {
    yield;
    if (report.isHopeless()) return;
    const path = [root, vip];
    const address = checkVip(vip, family, path, surroundings, report);
    if (address !== undefined) {
      const first = gathered.addresses.get(address);
      if (first === undefined) gathered.addresses.set(address, path);
      else report.add('warning', path, `the same VIP as ${formatPath(first)}, written in another way`);
    }
    if (ports === null) continue;
    if (!isMap(ports)) {
      report.error(path, 'must be a map from ports to services; {} for none');
      continue;
    }
    for (const [text, entry] of Object.entries(ports)) {
      yield;
      if (report.isHopeless()) return;
      const here = [...path, text];
      checkEntry(address, checkPort(text, here, report), entry, here, surroundings, gathered, report);
    }
  }
}

/** Which Service VIPs of `vipPool` lead to on one port, unless the configuration says otherwise. */
export interface DefaultListener {
  readonly namespace: string;
  readonly service: string;
  readonly portName: string;
  readonly port: number;
}

/** Adds the default listener, TCP through a tunnel, to each VIP of the pool that has nothing on its port. */
export function addDefaultListener(
  pool: readonly Address[],
  listener: DefaultListener,
  gathered: Gathered,
  defaultScheduler?: Scheduler,
): void {
  for (const address of pool) {
    if (gathered.ports.has(`${address} ${listener.port}`)) continue;
    gathered.addresses.set(address, gathered.addresses.get(address) ?? ['vipPool']);
    const service = serviceKey(listener.namespace, listener.service);
    gathered.add(address, listener.port, 'tcp', {
      service,
      portName: listener.portName,
      ...defaultOptions(defaultScheduler),
      forward: 'tunnel',
    });
  }
}

/** A VIP of `vipPool`, which takes both families. */
export function checkPoolVip(text: string, path: Path, surroundings: Surroundings, report: Report): Address | undefined {
  return checkVip(text, text.includes(':') ? 6 : 4, path, surroundings, report);
}
