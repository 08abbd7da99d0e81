/** IPv6 VIPs on the interface that they are announced on: what makes the kernel answer for them, also while no agent runs. */
import {
  announcedAddresses,
  planAnnounced,
  type AnnouncedDevices,
  type AnnouncedPlan,
  type ObservedAnnounced,
} from '../diff/announced-addresses.ts';
import type { Address } from '../model/cluster.ts';
import type { InterfaceAddress, Link, LinkOperation, LinksPort } from '../native/link-types.ts';
import { failureOf, nothingDone, type DriverFailure, type DriverOutcome } from './outcome.ts';
import { addressProtocol } from './ownership.ts';

type Links = Pick<LinksPort, 'links' | 'addresses' | 'apply'>;

/** Operations in one batch at most: others wait for the kernel's rtnl lock meanwhile. */
const batchSize = 500;

/** Knows what is there until it is in doubt; writes only the difference. */
export class AnnouncedAddressDriver {
  readonly #links: Links;
  readonly #devices: AnnouncedDevices;
  #state: ObservedAnnounced | undefined;
  #index: number | undefined;

  constructor(links: Links, interfaceName: string, vipInterface: string) {
    this.#links = links;
    this.#devices = { interface: interfaceName, vipInterface, protocol: addressProtocol };
  }

  /** Whether the interface has the address, ours or somebody else's; undefined when it is not known. */
  has(address: Address): boolean | undefined {
    if (this.#state === undefined) return undefined;
    return this.#state.addresses.some((held) => held.interfaceIndex === this.#index && held.address === address);
  }

  /** Index of the announcing interface when it was last seen: what events about it carry. */
  get interfaceIndex(): number | undefined {
    return this.#index;
  }

  /** The next {@link observe} reads the kernel. */
  forget(): void {
    this.#state = undefined;
  }

  /** Ours, on whatever interface. `read` saves a second look where the caller has just had one. */
  async observe(read?: {
    readonly links: readonly Link[];
    readonly addresses: readonly InterfaceAddress[];
  }): Promise<ReadonlySet<Address>> {
    const state = await this.#observe(read);
    return new Set(announcedAddresses(state, this.#devices).map(({ address }) => address));
  }

  async #observe(read?: ObservedAnnounced): Promise<ObservedAnnounced> {
    if (read !== undefined) this.#state = { links: read.links, addresses: read.addresses };
    if (this.#state === undefined) {
      const [links, addresses] = await Promise.all([this.#links.links(), this.#links.addresses()]);
      this.#state = { links, addresses };
    }
    this.#index = this.#state.links.find(({ name }) => name === this.#devices.interface)?.index;
    return this.#state;
  }

  /** These are to be announced, all others of ours to go; IPv4 addresses mean nothing here. */
  async plan(wanted: Iterable<Address>): Promise<AnnouncedPlan> {
    return planAnnounced(wanted, await this.#observe(), this.#devices);
  }

  /** Removes all of ours. */
  async cleanupOperations(): Promise<readonly LinkOperation[]> {
    return (await this.plan([])).down;
  }

  async apply(operations: readonly LinkOperation[]): Promise<DriverOutcome> {
    if (operations.length === 0) return nothingDone;
    const failures: DriverFailure[] = [];
    let written = 0;
    const before = this.#state;
    this.forget();
    for (let from = 0; from < operations.length; from += batchSize) {
      const batch = operations.slice(from, from + batchSize);
      const { applied, failed } = await this.#links.apply(batch);
      written += applied;
      for (const { operation, error } of failed) {
        const address = 'address' in operation ? operation.address : '';
        failures.push(failureOf(error, `links.${operation.op}`, `${address} on ${this.#devices.interface}`, { address }));
      }
    }
    // What took effect whole is known without a look; otherwise the next plan has one.
    if (failures.length === 0 && before !== undefined) this.#state = carriedOut(before, operations);
    return { written, failures };
  }
}

/** The addresses after the operations. */
function carriedOut(before: ObservedAnnounced, operations: readonly LinkOperation[]): ObservedAnnounced {
  const indexes = new Map(before.links.map(({ name, index }) => [name, index]));
  const addresses = new Map(before.addresses.map((held) => [`${held.interfaceIndex} ${held.address}/${held.prefix}`, held]));
  for (const operation of operations) {
    if (operation.op !== 'addAddress' && operation.op !== 'deleteAddress') continue;
    const interfaceIndex = indexes.get(operation.interface);
    if (interfaceIndex === undefined) continue;
    const { address, prefix } = operation;
    const key = `${interfaceIndex} ${address}/${prefix}`;
    if (operation.op === 'deleteAddress') addresses.delete(key);
    else {
      addresses.set(key, {
        ...{ interfaceIndex, address, prefix, protocol: addressProtocol, scope: 'universe', flags: 0 },
        ...{ validSeconds: 0xffff_ffff, preferredSeconds: 0 },
      });
    }
  }
  return { links: before.links, addresses: [...addresses.values()] };
}
