/** Announcing on the segment: frames for both families, and for IPv6 the address on the interface that lets the kernel answer. */
import type { AnnouncementStatus, Announcer } from '../announce/announcer.ts';
import { familyOf } from '../desired/eligibility.ts';
import type { ObservedAddresses } from '../drivers/addresses.ts';
import type { AnnouncedAddressDriver } from '../drivers/announced-addresses.ts';
import { nothingDone, type DriverOutcome } from '../drivers/outcome.ts';
import type { Address } from '../model/cluster.ts';
import type { LinkOperation } from '../native/link-types.ts';
import type { Announcing } from './announcing.ts';
import { describeLink } from './describe.ts';
import type { PlannedChange } from './plane.ts';

const isIpv6 = (address: Address): boolean => familyOf(address) === 6;

export class SegmentAnnouncing implements Announcing {
  readonly #announcer: Announcer;
  readonly #held: AnnouncedAddressDriver;
  /** IPv6 VIPs that are, or are about to be, on the announcing interface. */
  #answered = new Set<Address>();
  readonly warnings: readonly string[] = [];
  readonly unseen = undefined;

  constructor(announcer: Announcer, held: AnnouncedAddressDriver) {
    this.#announcer = announcer;
    this.#held = held;
  }

  /** The host answers ARP as it is: a setting that keeps it from that is somebody's wish, and `check` tells of it. */
  settings(): readonly [] {
    return [];
  }

  has(address: Address): boolean {
    return this.#announcer.has(address);
  }

  status(address: Address): AnnouncementStatus | undefined {
    return this.#announcer.status(address);
  }

  /** Whether the kernel is to answer solicitations for it. */
  answers(address: Address): boolean {
    return this.#answered.has(address);
  }

  forget(): void {
    this.#held.forget();
  }

  observe(read: ObservedAddresses): Promise<unknown> {
    return this.#held.observe(read);
  }

  configure(): void {
    // The configuration has nothing to say about it.
  }

  async withdraw(addresses: readonly Address[]): Promise<DriverOutcome> {
    this.#announcer.withdraw(addresses);
    const answered = addresses.filter((address) => this.#answered.delete(address));
    if (answered.length === 0) return nothingDone;
    const gone = new Set(answered);
    return this.#held.apply(await this.#down((address) => !gone.has(address)));
  }

  async withdrawOthers(stays: (address: Address) => boolean): Promise<DriverOutcome> {
    const silent = [...new Set([...this.#announcer.addresses, ...this.#answered])].filter((address) => !stays(address));
    this.#announcer.withdraw(silent);
    for (const address of silent) this.#answered.delete(address);
    return this.#held.apply(await this.#down(stays));
  }

  async goingDown(staying: ReadonlySet<Address>): Promise<readonly PlannedChange[]> {
    return (await this.#down((address) => staying.has(address))).map(describeLink);
  }

  async goingUp(addresses: ReadonlySet<Address>): Promise<readonly PlannedChange[]> {
    return (await this.#up(addresses)).map(describeLink);
  }

  async #down(stays: (address: Address) => boolean): Promise<readonly LinkOperation[]> {
    const there = await this.#held.observe();
    return (await this.#held.plan([...there].filter(stays))).down;
  }

  async #up(addresses: Iterable<Address>): Promise<readonly LinkOperation[]> {
    return (await this.#held.plan(addresses)).up;
  }

  async announce(addresses: readonly Address[]): Promise<DriverOutcome> {
    const ipv6 = addresses.filter(isIpv6);
    for (const address of ipv6) this.#answered.add(address);
    const outcome = ipv6.length === 0 ? nothingDone : await this.#held.apply(await this.#up(ipv6));
    const refused = new Set(outcome.failures.map(({ address }) => address));
    for (const address of refused) if (address !== undefined) this.#answered.delete(address);
    this.#announcer.announce(addresses.filter((address) => !this.#announcer.has(address) && !refused.has(address)));
    return outcome;
  }
}
