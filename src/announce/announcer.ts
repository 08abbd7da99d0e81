/** Who tells the segment where VIPs are, whatever their family. */
import type { Address, Reason } from '../model/cluster.ts';

export interface AnnouncementStatus {
  readonly address: Address;
  readonly announced: boolean;
  /** Frames sent for it, all forms counted. */
  readonly frames: number;
  readonly conflicts: number;
  readonly reason: Reason | undefined;
}

export interface Announcer {
  has(address: Address): boolean;
  readonly addresses: Iterable<Address>;
  /** Takes over VIPs. Those already held go on undisturbed. */
  announce(addresses: Iterable<Address>): void;
  /** No frame for these VIPs leaves after the one that may be under way. */
  withdraw(addresses: Iterable<Address>): void;
  /** The link came up, or the segment changed: whoever is out there may know nothing. */
  announceAgain(): void;
  /** Someone else claimed a VIP; false when it is not held. */
  conflict(address: Address, mac: string): boolean;
  status(address: Address): AnnouncementStatus | undefined;
  stop(): void;
}

/** One announcer per family behind one face: ARP for IPv4, neighbour discovery for IPv6. */
export class SegmentAnnouncer implements Announcer {
  readonly #arp: Announcer;
  readonly #ndp: Announcer;

  constructor(arp: Announcer, ndp: Announcer) {
    this.#arp = arp;
    this.#ndp = ndp;
  }

  #of(address: Address): Announcer {
    return address.includes(':') ? this.#ndp : this.#arp;
  }

  has(address: Address): boolean {
    return this.#of(address).has(address);
  }

  get addresses(): Iterable<Address> {
    return [...this.#arp.addresses, ...this.#ndp.addresses];
  }

  announce(addresses: Iterable<Address>): void {
    const { ipv4, ipv6 } = byFamily(addresses);
    this.#arp.announce(ipv4);
    this.#ndp.announce(ipv6);
  }

  withdraw(addresses: Iterable<Address>): void {
    const { ipv4, ipv6 } = byFamily(addresses);
    this.#arp.withdraw(ipv4);
    this.#ndp.withdraw(ipv6);
  }

  announceAgain(): void {
    this.#arp.announceAgain();
    this.#ndp.announceAgain();
  }

  conflict(address: Address, mac: string): boolean {
    return this.#of(address).conflict(address, mac);
  }

  status(address: Address): AnnouncementStatus | undefined {
    return this.#of(address).status(address);
  }

  stop(): void {
    this.#arp.stop();
    this.#ndp.stop();
  }
}

function byFamily(addresses: Iterable<Address>): { ipv4: Address[]; ipv6: Address[] } {
  const all = [...addresses];
  return { ipv4: all.filter((address) => !address.includes(':')), ipv6: all.filter((address) => address.includes(':')) };
}
