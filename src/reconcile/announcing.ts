/** Announcing as a director does it: on the way up last, on the way down first. */
import type { Announcer } from '../announce/announcer.ts';
import { familyOf } from '../desired/eligibility.ts';
import type { ObservedAddresses } from '../drivers/addresses.ts';
import type { AnnouncedAddressDriver } from '../drivers/announced-addresses.ts';
import { nothingDone, type DriverOutcome } from '../drivers/outcome.ts';
import type { Address } from '../model/cluster.ts';
import type { LinkOperation } from '../native/link-types.ts';

const isIpv6 = (address: Address): boolean => familyOf(address) === 6;

/** Frames for both families, and for IPv6 the address on the interface that lets the kernel answer. */
export class Announcing {
  readonly #announcer: Announcer;
  readonly #held: AnnouncedAddressDriver;
  /** IPv6 VIPs that are, or are about to be, on the announcing interface. */
  #answered = new Set<Address>();

  constructor(announcer: Announcer, held: AnnouncedAddressDriver) {
    this.#announcer = announcer;
    this.#held = held;
  }

  get announcer(): Announcer {
    return this.#announcer;
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

  /** Silences these before IPVS lets go of them. */
  async withdraw(addresses: readonly Address[]): Promise<DriverOutcome> {
    this.#announcer.withdraw(addresses);
    const answered = addresses.filter((address) => this.#answered.delete(address));
    if (answered.length === 0) return nothingDone;
    const gone = new Set(answered);
    return this.#held.apply(await this.goingDown((address) => !gone.has(address)));
  }

  /** The same for all that are not to stay, also those of an earlier process. */
  async withdrawOthers(stays: (address: Address) => boolean): Promise<DriverOutcome> {
    const silent = [...new Set([...this.#announcer.addresses, ...this.#answered])].filter((address) => !stays(address));
    this.#announcer.withdraw(silent);
    for (const address of silent) this.#answered.delete(address);
    return this.#held.apply(await this.goingDown(stays));
  }

  /** What {@link withdrawOthers} would do to the interface. */
  async goingDown(stays: (address: Address) => boolean): Promise<readonly LinkOperation[]> {
    const there = await this.#held.observe();
    return (await this.#held.plan([...there].filter(stays))).down;
  }

  /** What {@link announce} would do to the interface for all of `addresses`. */
  async goingUp(addresses: Iterable<Address>): Promise<readonly LinkOperation[]> {
    return (await this.#held.plan(addresses)).up;
  }

  /** Speaks up for these: all are placed and have a backend that is programmed. Those already announced go on. */
  async announce(addresses: readonly Address[]): Promise<DriverOutcome> {
    const ipv6 = addresses.filter(isIpv6);
    for (const address of ipv6) this.#answered.add(address);
    const outcome = ipv6.length === 0 ? nothingDone : await this.#held.apply(await this.goingUp(ipv6));
    const refused = new Set(outcome.failures.map(({ address }) => address));
    for (const address of refused) if (address !== undefined) this.#answered.delete(address);
    this.#announcer.announce(addresses.filter((address) => !this.#announcer.has(address) && !refused.has(address)));
    return outcome;
  }
}
