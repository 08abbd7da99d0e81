/**
 * The VIP device and the addresses on it. The device is ours by its name, so everything on it is;
 * nothing elsewhere is looked at.
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
    ...(address.includes(':') ? { noDad: true } : {}),
  } as const satisfies LinkOperation;
}

function byAddress(a: { address: Address; prefix: number }, b: { address: Address; prefix: number }): number {
  return textOf(a) < textOf(b) ? -1 : 1;
}

/** The addresses on our device that the agent answers for; link-local ones are the kernel's own. */
export function placedAddresses(link: Link | undefined, observed: readonly InterfaceAddress[]): InterfaceAddress[] {
  return observed.filter(({ interfaceIndex, scope }) => interfaceIndex === link?.index && scope !== 'link');
}

/** `observed` are the addresses of all interfaces. */
export function diffAddresses(device: DesiredDevice, links: readonly Link[], observed: readonly InterfaceAddress[]): AddressPlan {
  const link = links.find(({ name }) => name === device.name);
  if (link !== undefined && link.kind !== 'dummy') {
    return { up: [], down: [], conflict: `${device.name} is a ${link.kind ?? 'physical'} device, not a dummy` };
  }
  const wanted = new Map(device.addresses.map((address) => [`${address}/${hostPrefix(address)}`, address]));
  const placed = new Map(placedAddresses(link, observed).map((address) => [textOf(address), address]));
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
