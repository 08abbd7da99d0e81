/** ipvsadm(8) as an oracle: its save format written and read, and the tool run in a namespace. */
import { execFileSync } from 'node:child_process';
import { canonicalAddress } from '../../src/native/address-bytes.ts';
import { destinationKey, serviceKey } from '../../src/native/ipvs-columns.ts';
import type {
  DestinationId,
  DestinationSpec,
  ForwardingMethod,
  IpvsOperation,
  Protocol,
  Service,
  ServiceId,
  ServiceSpec,
  TunnelType,
} from '../../src/native/ipvs-types.ts';
import type { Netns } from '../../src/native/netns.ts';

/** Runs a program inside the namespace; throws with its stderr when it fails. */
export function run(netns: Netns, command: string, args: readonly string[], input = ''): string {
  return execFileSync('nsenter', [`--net=${netns.path}`, command, ...args], { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
}

/** A table without statistics: key → specification, and per service key → destination specification. */
export type Rules = Map<
  string,
  { id: ServiceId; spec: ServiceSpec; destinations: Map<string, { id: DestinationId; spec: DestinationSpec }> }
>;

export function rulesOf(services: readonly Service[]): Rules {
  return new Map(
    services.map(({ id, spec, destinations }) => [
      serviceKey(id),
      {
        id,
        spec,
        destinations: new Map(
          destinations.map((destination) => [destinationKey(destination.id), { id: destination.id, spec: destination.spec }]),
        ),
      },
    ]),
  );
}

export function operationsFor(rules: Rules): IpvsOperation[] {
  return [...rules.values()].flatMap(({ id, spec, destinations }): IpvsOperation[] => [
    { op: 'addService', service: id, spec },
    ...[...destinations.values()].map((destination): IpvsOperation => ({
      op: 'addDestination',
      service: id,
      destination: destination.id,
      spec: destination.spec,
    })),
  ]);
}

/** Rules as `ipvsadm -Sn` shows them: without thresholds, which it leaves out. */
export function withoutThresholds(rules: Rules): Rules {
  return new Map(
    [...rules].map(([key, service]) => [
      key,
      {
        ...service,
        destinations: new Map(
          [...service.destinations].map(([destination, { id, spec }]) => {
            const { upperThreshold: _upper, lowerThreshold: _lower, ...shown } = spec;
            return [destination, { id, spec: shown }];
          }),
        ),
      },
    ]),
  );
}

/** Rules as `ipvsadm` would take them: a destination has a port of its own only when masquerading. */
export function withServicePorts(rules: Rules): Rules {
  return new Map(
    [...rules].map(([key, service]) => {
      const own = 'fwmark' in service.id ? 0 : service.id.port;
      const destinations = new Map(
        [...service.destinations.values()].map(({ id, spec }) => {
          const moved = spec.forward === 'masquerade' ? id : { ...id, port: own };
          return [destinationKey(moved), { id: moved, spec }];
        }),
      );
      return [key, { ...service, destinations }];
    }),
  );
}

const SERVICE_OPTION: Readonly<Record<Protocol, string>> = { tcp: '-t', udp: '-u', sctp: '--sctp-service' };
const FORWARD_OPTION: Readonly<Record<Exclude<ForwardingMethod, 'local'>, string>> = { masquerade: '-m', tunnel: '-i', direct: '-g' };

function mask(prefix: number): string {
  const bits = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
  return [24, 16, 8, 0].map((shift) => String((bits >>> shift) & 0xff)).join('.');
}

function prefixOf(text: string): number {
  if (!text.includes('.')) return Number(text);
  const bits = text.split('.').reduce((all, octet) => all * 256 + Number(octet), 0);
  return Math.clz32(~bits);
}

function serviceOptions(id: ServiceId): string[] {
  if ('fwmark' in id) return ['-f', String(id.fwmark), ...(id.family === 'ipv6' ? ['-6'] : [])];
  return [SERVICE_OPTION[id.protocol], destinationKey(id)];
}

/** One rule per line, for `ipvsadm -R`, thresholds included. */
export function restoreText(rules: Rules): string {
  const lines: string[][] = [];
  for (const { id, spec, destinations } of rules.values()) {
    const six = 'fwmark' in id ? id.family === 'ipv6' : id.address.includes(':');
    lines.push([
      '-A',
      ...serviceOptions(id),
      '-s',
      spec.scheduler,
      ...(spec.persistenceSeconds === undefined ? [] : ['-p', String(spec.persistenceSeconds)]),
      ...(spec.persistencePrefix === undefined ? [] : ['-M', six ? String(spec.persistencePrefix) : mask(spec.persistencePrefix)]),
      ...(spec.persistenceEngine === undefined ? [] : ['--pe', spec.persistenceEngine]),
      ...(spec.onePacket === true ? ['-o'] : []),
      ...(spec.schedulerFlags === undefined ? [] : ['-b', spec.schedulerFlags.map((flag) => `flag-${String(flag)}`).join(',')]),
    ]);
    for (const { id: destination, spec: to } of destinations.values()) {
      if (to.forward === 'local') throw new Error('ipvsadm has no option for local');
      lines.push([
        '-a',
        ...serviceOptions(id),
        '-r',
        destinationKey(destination),
        FORWARD_OPTION[to.forward],
        '-w',
        String(to.weight),
        ...(to.upperThreshold === undefined ? [] : ['-x', String(to.upperThreshold)]),
        ...(to.lowerThreshold === undefined ? [] : ['-y', String(to.lowerThreshold)]),
        ...(to.tunnel === undefined ? [] : ['--tun-type', to.tunnel.type]),
        ...(to.tunnel?.port === undefined ? [] : ['--tun-port', String(to.tunnel.port)]),
        ...(to.tunnel?.checksum === 'plain' ? ['--tun-csum'] : to.tunnel?.checksum === 'remote' ? ['--tun-remcsum'] : []),
      ]);
    }
  }
  return lines.map((words) => `${words.join(' ')}\n`).join('');
}

function socket(text: string): DestinationId {
  const at = text.lastIndexOf(':');
  const address = canonicalAddress(text.slice(0, at).replace(/^\[|\]$/g, ''));
  if (address === undefined) throw new Error(`ipvsadm said ${text}`);
  return { address, port: Number(text.slice(at + 1)) };
}

/** The options of one line of the save format; flags without a value are present with ''. */
function optionsOf(line: string): Map<string, string> {
  const options = new Map<string, string>();
  let last = '';
  for (const word of line.trim().split(/\s+/)) {
    if (word.startsWith('-')) options.set((last = word), '');
    else options.set(last, word);
  }
  return options;
}

const SCHEDULER_FLAGS: Readonly<Record<string, 1 | 2 | 3>> = {
  'flag-1': 1,
  'flag-2': 2,
  'flag-3': 3,
  'sh-fallback': 1,
  'sh-port': 2,
  'mh-fallback': 1,
  'mh-port': 2,
};

function idOf(options: Map<string, string>): ServiceId {
  const mark = options.get('-f');
  if (mark !== undefined) return { fwmark: Number(mark), family: options.has('-6') ? 'ipv6' : 'ipv4' };
  for (const [protocol, option] of Object.entries(SERVICE_OPTION) as [Protocol, string][]) {
    const text = options.get(option);
    if (text !== undefined) return { protocol, ...socket(text) };
  }
  throw new Error(`no service in ${[...options].join(' ')}`);
}

function serviceSpecOf(options: Map<string, string>): ServiceSpec {
  const persistence = options.get('-p');
  const prefix = options.get('-M');
  const engine = options.get('--pe');
  const flags = options
    .get('-b')
    ?.split(',')
    .map((name) => SCHEDULER_FLAGS[name] ?? raise(`unknown flag ${name}`))
    .sort();
  return {
    scheduler: options.get('-s') ?? raise('no scheduler'),
    ...(flags === undefined ? {} : { schedulerFlags: flags }),
    ...(persistence === undefined ? {} : { persistenceSeconds: Number(persistence) }),
    ...(prefix === undefined ? {} : { persistencePrefix: prefixOf(prefix) }),
    ...(options.has('-o') ? { onePacket: true } : {}),
    ...(engine === undefined ? {} : { persistenceEngine: engine }),
  };
}

function destinationSpecOf(options: Map<string, string>): DestinationSpec {
  const forward =
    (Object.entries(FORWARD_OPTION) as [ForwardingMethod, string][]).find(([, option]) => options.has(option))?.[0] ?? 'local';
  const type = (options.get('--tun-type') ?? 'ipip') as TunnelType;
  const port = options.get('--tun-port');
  const checksum = options.has('--tun-csum') ? 'plain' : options.has('--tun-remcsum') ? 'remote' : undefined;
  return {
    forward,
    weight: Number(options.get('-w')),
    ...(type === 'ipip'
      ? {}
      : { tunnel: { type, ...(port === undefined ? {} : { port: Number(port) }), ...(checksum === undefined ? {} : { checksum }) } }),
  };
}

function raise(message: string): never {
  throw new Error(message);
}

/** What `ipvsadm -Sn` shows in the namespace. */
export function save(netns: Netns): Rules {
  const rules: Rules = new Map();
  for (const line of run(netns, 'ipvsadm', ['-S', '-n']).split('\n')) {
    if (line === '') continue;
    const options = optionsOf(line);
    const id = idOf(options);
    if (options.has('-A')) {
      rules.set(serviceKey(id), { id, spec: serviceSpecOf(options), destinations: new Map() });
    } else {
      const destination = socket(options.get('-r') ?? raise(`no -r in ${line}`));
      const service = rules.get(serviceKey(id)) ?? raise(`destination before its service: ${line}`);
      service.destinations.set(destinationKey(destination), { id: destination, spec: destinationSpecOf(options) });
    }
  }
  return rules;
}
