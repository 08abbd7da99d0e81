/**
 * The VIP device and the addresses on it. A dummy of that name is ours, and so is everything on it. A
 * device of another kind may be lent to us: it stays as it is, and only addresses with our protocol
 * number are ours. Nothing elsewhere is looked at.
 */
import type { Address } from '../model/cluster.ts';
import type { InterfaceAddress, Link, LinkOperation } from '../native/link-types.ts';
import { diffKeyed } from './keyed.ts';

export interface DesiredDevice {
  /** `ravel0` */
  readonly name: string;
  /** VIPs, each as a host prefix. */
  readonly addresses: readonly Address[];
  /** Bytes. Absent: whatever the device has. */
  readonly mtu?: number;
  /** IFA_PROTO of the addresses, so that other software can tell whose they are. */
  readonly protocol: number;
  /** Use a device of that name that is no dummy, too. Default false: that is a conflict. */
  readonly borrow?: boolean;
}

export interface AddressPlan {
  /** To be done before traffic is attracted: the device, then addresses. */
  readonly up: readonly LinkOperation[];
  /** To be done after the virtual services of these addresses are gone. */
  readonly down: readonly LinkOperation[];
  /** A device of that name that is no dummy: nothing is planned then. */
  readonly conflict: string | undefined;
}

/** IFA_F_SECONDARY of linux/if_addr.h. */
const SECONDARY = 0x01;

function hostPrefix(address: Address): number {
  return address.includes(':') ? 128 : 32;
}

const textOf = ({ address, prefix }: { address: Address; prefix: number }): string => `${address}/${prefix}`;

function deviceOperations(device: DesiredDevice, link: Link | undefined): LinkOperation[] {
  const { name, mtu } = device;
  if (link !== undefined && !ownsLink(link)) return [];
  if (link === undefined) return [{ op: 'addDummy', name, up: true, noArp: true, ...(mtu === undefined ? {} : { mtu }) }];
  const change = {
    ...(link.up ? {} : { up: true }),
    ...(link.noArp ? {} : { noArp: true }),
    ...(mtu === undefined || mtu === link.mtu ? {} : { mtu }),
  };
  return Object.keys(change).length === 0 ? [] : [{ op: 'setLink', name, ...change }];
}

function addition(device: DesiredDevice, address: Address) {
  return {
    op: 'addAddress',
    interface: device.name,
    address,
    prefix: hostPrefix(address),
    protocol: device.protocol,
    // Nobody else has a VIP on this device, and a tentative address cannot be used yet.
    // An IPv6 one would compete as the source of what this machine sends (RFC 6724), since all interfaces do.
    ...(address.includes(':') ? { noDad: true, preferredSeconds: 0 } : {}),
  } as const satisfies LinkOperation;
}

function byAddress(a: { address: Address; prefix: number }, b: { address: Address; prefix: number }): number {
  return textOf(a) < textOf(b) ? -1 : 1;
}

/** A dummy of the name that the agent uses is its own; it makes no other kind. */
export function ownsLink(link: Link | undefined): boolean {
  return link?.kind === 'dummy';
}

/**
 * The addresses on the VIP device that the agent answers for; link-local ones are the kernel's own. On a
 * device that is not ours, those with our protocol number.
 */
export function placedAddresses(link: Link | undefined, observed: readonly InterfaceAddress[], protocol: number): InterfaceAddress[] {
  const owned = ownsLink(link);
  return observed.filter(
    (address) => address.interfaceIndex === link?.index && (owned ? address.scope !== 'link' : address.protocol === protocol),
  );
}

/** `observed` are the addresses of all interfaces. */
export function diffAddresses(device: DesiredDevice, links: readonly Link[], observed: readonly InterfaceAddress[]): AddressPlan {
  const link = links.find(({ name }) => name === device.name);
  if (link !== undefined && !ownsLink(link) && device.borrow !== true) {
    return { up: [], down: [], conflict: `${device.name} is a ${link.kind ?? 'physical'} device, not a dummy` };
  }
  const wanted = new Map(device.addresses.map((address) => [`${address}/${hostPrefix(address)}`, address]));
  const placed = new Map(placedAddresses(link, observed, device.protocol).map((address) => [textOf(address), address]));
  const { missing, surplus } = diffKeyed(wanted, placed, () => true);
  return {
    up: [...deviceOperations(device, link), ...missing.map(({ desired }) => addition(device, desired)).sort(byAddress)],
    down: surplus
      .map(({ observed: { flags, address, prefix } }) => ({ flags, address, prefix }))
      // The kernel takes secondary addresses away with their primary: they go first, so that each deletion finds its address.
      .sort((a, b) => (b.flags & SECONDARY) - (a.flags & SECONDARY) || byAddress(a, b))
      .map(({ address, prefix }): LinkOperation => ({ op: 'deleteAddress', interface: device.name, address, prefix })),
    conflict: undefined,
  };
}
