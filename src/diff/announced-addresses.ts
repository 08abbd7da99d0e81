/**
 * IPv6 VIPs on the interface that they are announced on. The kernel answers a neighbour solicitation only for an address of
 * the interface asked (ndisc_recv_ns()), so an announced VIP is there, too, besides on the VIP device; IPv4 needs nothing of the kind.
 */
import type { Address } from '../model/cluster.ts';
import type { InterfaceAddress, Link, LinkOperation } from '../native/link-types.ts';

export interface ObservedAnnounced {
  readonly links: readonly Link[];
  /** Of all interfaces. */
  readonly addresses: readonly InterfaceAddress[];
}

export interface AnnouncedDevices {
  /** Where VIPs are announced. */
  readonly interface: string;
  readonly vipInterface: string;
  /** IFA_PROTO of ours. */
  readonly protocol: number;
}

/** One address of ours outside the VIP device. */
export interface AnnouncedAddress {
  readonly interface: string;
  readonly address: Address;
}

export interface AnnouncedPlan {
  /** To be done once the VIP has a backend, before the first advertisement. */
  readonly up: readonly LinkOperation[];
  /** To be done before IPVS lets go of the VIP. */
  readonly down: readonly LinkOperation[];
}

/**
 * Those that are ours, on whatever interface: one may have been announced elsewhere before. Ours is a host address with our
 * protocol number. A kernel before 5.18 does not keep that: there, one that is never used as a source and that is on the VIP
 * device, too.
 */
export function announcedAddresses(
  { links, addresses }: ObservedAnnounced,
  { vipInterface, protocol }: AnnouncedDevices,
): AnnouncedAddress[] {
  const names = new Map(links.map(({ index, name }) => [index, name]));
  const placed = new Set(
    addresses
      .filter(({ interfaceIndex }) => names.get(interfaceIndex) === vipInterface)
      .map(({ address, prefix }) => `${address}/${prefix}`),
  );
  return addresses.flatMap((held) => {
    const name = names.get(held.interfaceIndex);
    if (name === undefined || name === vipInterface || !held.address.includes(':') || held.prefix !== 128) return [];
    const silent = held.protocol === 0 && held.preferredSeconds === 0 && placed.has(`${held.address}/128`);
    return held.protocol === protocol || silent ? [{ interface: name, address: held.address }] : [];
  });
}

/** `wanted` are VIPs to announce; IPv4 ones are none of this. */
export function planAnnounced(wanted: Iterable<Address>, observed: ObservedAnnounced, devices: AnnouncedDevices): AnnouncedPlan {
  const wishes = new Set([...wanted].filter((address) => address.includes(':')));
  const index = observed.links.find(({ name }) => name === devices.interface)?.index;
  const ours = announcedAddresses(observed, devices);
  const kept = (one: AnnouncedAddress): boolean => one.interface === devices.interface && wishes.has(one.address);
  // Somebody else's of the same address will do, and the kernel would refuse a second one. On the VIP device itself it is placed already.
  const there = new Set(observed.addresses.filter(({ interfaceIndex }) => interfaceIndex === index).map(({ address }) => address));
  const missing = devices.interface === devices.vipInterface ? [] : [...wishes].filter((address) => !there.has(address)).sort();
  return {
    up: missing.map((address) => ({
      ...{ op: 'addAddress', interface: devices.interface, address, prefix: 128, protocol: devices.protocol },
      // At once usable; no route of its own; never the source of what this machine sends.
      ...{ noDad: true, noPrefixRoute: true, preferredSeconds: 0 },
    })),
    down: ours
      .filter((one) => !kept(one))
      .map(({ interface: name, address }) => ({ op: 'deleteAddress', interface: name, address, prefix: 128 })),
  };
}
