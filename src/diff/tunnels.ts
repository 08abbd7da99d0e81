/**
 * Receiving tunnelled packets: the kernel's own devices that take them from any sender, and the UDP ports on which they come
 * wrapped once more. What was changed is remembered, for nothing about a device or a port tells who wanted it.
 */
import type { VirtualService } from '../model/cluster.ts';
import type { FouPortEntry, Link, LinkOperation, TunnelKind } from '../native/link-types.ts';

export type GuePort = Pick<FouPortEntry, 'port' | 'family'>;

export interface TunnelRequirements {
  readonly devices: readonly TunnelKind[];
  readonly guePorts: readonly GuePort[];
}

/**
 * The device of each kind that has no addresses of its own. The kernel makes it with the module and lets no second one
 * be: a device of another name would be refused while it is there.
 */
export const tunnelDevices: Readonly<Record<TunnelKind, string>> = { ipip: 'tunl0', ip6tnl: 'ip6tnl0', gre: 'gre0', ip6gre: 'ip6gre0' };

/** What has been changed: a device that was not there or was down, a port that nobody listened on. */
export type TunnelChange =
  { readonly link: string; readonly was: 'absent' | 'down' } | ({ readonly link?: undefined; readonly was: 'absent' } & GuePort);

export type TunnelOperation =
  (LinkOperation & { op: 'addTunnel' | 'setLink' | 'deleteLink' }) | ({ readonly op: 'addFou' | 'deleteFou' } & GuePort);

export interface ObservedTunnels {
  readonly links: readonly Pick<Link, 'name' | 'kind' | 'up'>[];
  /** Undefined: not looked at, since nobody asks for any. */
  readonly ports: readonly FouPortEntry[] | undefined;
}

export interface TunnelPlan {
  readonly operations: readonly TunnelOperation[];
  /** Something of another kind is in the place of what is needed. */
  readonly conflicts: readonly { readonly subject: string; readonly message: string }[];
}

const noTunnels: TunnelRequirements = { devices: [], guePorts: [] };

/** What a realserver needs to take the packets of these virtual services. */
export function tunnelRequirements(virtualServices: Iterable<Pick<VirtualService, 'address' | 'forward' | 'tunnel'>>): TunnelRequirements {
  const devices = new Set<TunnelKind>();
  const guePorts = new Map<string, GuePort>();
  for (const { address, forward, tunnel } of virtualServices) {
    if (forward !== 'tunnel') continue;
    const version6 = address.includes(':');
    // GUE is taken off first; what is inside is IP in IP.
    if (tunnel?.type === 'gre') devices.add(version6 ? 'ip6gre' : 'gre');
    else devices.add(version6 ? 'ip6tnl' : 'ipip');
    if (tunnel?.type === 'gue' && tunnel.port !== undefined) {
      const family = version6 ? 'ipv6' : 'ipv4';
      guePorts.set(`${family} ${tunnel.port}`, { port: tunnel.port, family });
    }
  }
  const ports = [...guePorts.values()].sort((a, b) => a.port - b.port || (a.family < b.family ? -1 : 1));
  return { devices: [...devices].sort(), guePorts: ports };
}

/** Devices through which unwrapped IPv4 packets come in: their reverse path filter matters. */
export function tunnelInterfaces({ devices }: TunnelRequirements): string[] {
  return devices.filter((kind) => kind === 'ipip' || kind === 'gre').map((kind) => tunnelDevices[kind]);
}

const samePort = (a: GuePort, b: GuePort): boolean => a.port === b.port && a.family === b.family;

export const portText = ({ port, family }: GuePort): string => `UDP port ${port} (${family})`;

/** What is to be done, and what is to be undone since nobody needs it any more. `changes` are ours of before. */
export function planTunnels(
  { devices, guePorts }: TunnelRequirements,
  { links, ports = [] }: ObservedTunnels,
  changes: readonly TunnelChange[],
): TunnelPlan {
  const operations: TunnelOperation[] = [];
  const conflicts: { subject: string; message: string }[] = [];
  for (const kind of devices) {
    const name = tunnelDevices[kind];
    const link = links.find((candidate) => candidate.name === name);
    if (link === undefined) operations.push({ op: 'addTunnel', name, kind });
    else if (link.kind !== kind) conflicts.push({ subject: name, message: `${name} is a ${link.kind ?? 'physical'} device, not ${kind}` });
    // A device that loading the module makes is there when ours is asked for, and down: up comes after, in any case.
    if (link === undefined || (link.kind === kind && !link.up)) operations.push({ op: 'setLink', name, up: true });
  }
  for (const wanted of guePorts) {
    const held = ports.find((port) => samePort(port, wanted));
    if (held === undefined) operations.push({ op: 'addFou', ...wanted });
    else if (held.encapsulation !== 'gue')
      conflicts.push({ subject: portText(wanted), message: `${portText(wanted)} unwraps protocol ${held.protocol}, not GUE` });
  }
  const needed = new Set(devices.map((kind) => tunnelDevices[kind]));
  for (const change of changes) operations.push(...undo(change, needed, guePorts, { links, ports }));
  return { operations, conflicts };
}

/** What puts one change back, where it is still as we left it. */
function undo(
  change: TunnelChange,
  devices: ReadonlySet<string>,
  guePorts: readonly GuePort[],
  observed: ObservedTunnels,
): TunnelOperation[] {
  if (change.link === undefined) {
    const { port, family } = change;
    const held = observed.ports?.some((entry) => samePort(entry, change) && entry.encapsulation === 'gue') === true;
    return !held || guePorts.some((wanted) => samePort(wanted, change)) ? [] : [{ op: 'deleteFou', port, family }];
  }
  const link = observed.links.find(({ name }) => name === change.link);
  if (link === undefined || devices.has(change.link)) return [];
  const down: TunnelOperation[] = link.up ? [{ op: 'setLink', name: change.link, up: false }] : [];
  // The kernel keeps the device that came with the module, without an error: then it is at least down again.
  return change.was === 'absent' ? [...down, { op: 'deleteLink', name: change.link }] : down;
}

/** Changes that nobody needs and that there is nothing to put back of, since somebody else has done so. */
export function staleChanges(
  { devices, guePorts }: TunnelRequirements,
  observed: ObservedTunnels,
  changes: readonly TunnelChange[],
): TunnelChange[] {
  const needed = new Set(devices.map((kind) => tunnelDevices[kind]));
  return changes.filter((change) => {
    const inUse = change.link === undefined ? guePorts.some((wanted) => samePort(wanted, change)) : needed.has(change.link);
    const unknown = change.link === undefined && observed.ports === undefined;
    return !inUse && !unknown && undo(change, needed, guePorts, observed).length === 0;
  });
}

/** All changes put back. */
export function planNoTunnels(observed: ObservedTunnels, changes: readonly TunnelChange[]): TunnelPlan {
  return planTunnels(noTunnels, observed, changes);
}

/** What is on record once `operations` are carried out; to be written before they are. */
export function changesWith(
  changes: readonly TunnelChange[],
  operations: readonly TunnelOperation[],
  observed: ObservedTunnels,
): TunnelChange[] {
  const known = [...changes];
  for (const operation of operations) {
    if (operation.op === 'addFou' && !known.some((change) => change.link === undefined && samePort(change, operation))) {
      known.push({ port: operation.port, family: operation.family, was: 'absent' });
    }
    if (operation.op !== 'addTunnel' && !(operation.op === 'setLink' && operation.up === true)) continue;
    if (known.some(({ link }) => link === operation.name)) continue;
    known.push({ link: operation.name, was: observed.links.some(({ name }) => name === operation.name) ? 'down' : 'absent' });
  }
  return known;
}

/** The record without what `done` has put back. */
export function changesWithout(changes: readonly TunnelChange[], done: readonly TunnelOperation[]): TunnelChange[] {
  return changes.filter(
    (change) =>
      !done.some((operation) =>
        change.link === undefined
          ? operation.op === 'deleteFou' && samePort(operation, change)
          : 'name' in operation &&
            operation.name === change.link &&
            (change.was === 'absent' ? operation.op === 'deleteLink' : operation.op === 'setLink' && operation.up === false),
      ),
  );
}
