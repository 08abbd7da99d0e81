/** VIPs as addresses of the VIP device, and the device itself. */
import { diffAddresses, ownsLink, placedAddresses, type AddressPlan } from '../diff/addresses.ts';
import type { Address } from '../model/cluster.ts';
import type { InterfaceAddress, Link, LinkOperation, LinksPort } from '../native/link-types.ts';
import { failureOf, nothingDone, type DriverFailure, type DriverOutcome } from './outcome.ts';
import { addressProtocol } from './ownership.ts';

/** What the kernel holds of devices and addresses. */
export interface ObservedAddresses {
  readonly links: readonly Link[];
  readonly addresses: readonly InterfaceAddress[];
  /** The VIP device, where there is one. */
  readonly device: Link | undefined;
  /** Addresses on it that are ours. */
  readonly placed: ReadonlySet<Address>;
}

/** Operations in one batch at most: others wait for the kernel's rtnl lock meanwhile. */
const batchSize = 500;

function subjectOf(operation: LinkOperation): string {
  if ('address' in operation) return `${operation.address}/${operation.prefix} on ${operation.interface}`;
  return 'name' in operation ? operation.name : operation.destination;
}

/** Knows what is placed until it is in doubt; writes only the difference. */
export class AddressDriver {
  readonly #links: Pick<LinksPort, 'links' | 'addresses' | 'apply'>;
  readonly vipInterface: string;
  #state: ObservedAddresses | undefined;
  #deviceIndex: number | undefined;
  #macs: ReadonlySet<string> = new Set();

  constructor(links: Pick<LinksPort, 'links' | 'addresses' | 'apply'>, vipInterface: string) {
    this.#links = links;
    this.vipInterface = vipInterface;
  }

  /** As last read; undefined when it cannot be relied on. */
  get state(): ObservedAddresses | undefined {
    return this.#state;
  }

  /** Index of the VIP device when it was last seen: what events about it carry. */
  get deviceIndex(): number | undefined {
    return this.#deviceIndex;
  }

  /** Hardware addresses of this machine, as last seen. */
  get macs(): ReadonlySet<string> {
    return this.#macs;
  }

  /** The next {@link observe} reads the kernel. */
  forget(): void {
    this.#state = undefined;
  }

  async observe(): Promise<ObservedAddresses> {
    if (this.#state !== undefined) return this.#state;
    const [links, addresses] = await Promise.all([this.#links.links(), this.#links.addresses()]);
    const device = links.find(({ name }) => name === this.vipInterface);
    const placed = new Set(placedAddresses(device, addresses, addressProtocol).map(({ address }) => address));
    this.#deviceIndex = device?.index;
    this.#macs = new Set(links.map(({ mac }) => mac));
    this.#state = { links, addresses, device, placed };
    return this.#state;
  }

  /** `addresses` are to be placed, all others of ours to go. `mtu` of the device, bytes; undefined leaves it as it is. */
  async plan(addresses: readonly Address[], mtu?: number): Promise<AddressPlan> {
    const state = await this.observe();
    const size = mtu === undefined ? {} : { mtu };
    const wanted = { name: this.vipInterface, addresses, protocol: addressProtocol, borrow: true, ...size };
    // A device is made when there is something to put on it.
    if (state.device === undefined && addresses.length === 0) return { up: [], down: [], conflict: undefined };
    return diffAddresses(wanted, state.links, state.addresses);
  }

  /** Removes all of ours, and the device when it is ours: the kernel drops the addresses with it. */
  async cleanupOperations(): Promise<readonly LinkOperation[]> {
    const { device } = await this.observe();
    if (device !== undefined && ownsLink(device)) return [{ op: 'deleteLink', name: this.vipInterface }];
    return (await this.plan([])).down;
  }

  async apply(operations: readonly LinkOperation[]): Promise<DriverOutcome> {
    if (operations.length === 0) return nothingDone;
    const failures: DriverFailure[] = [];
    let written = 0;
    this.forget();
    for (let from = 0; from < operations.length; from += batchSize) {
      const batch = operations.slice(from, from + batchSize);
      const result = await this.#links.apply(batch);
      written += batch.length - result.failed.length;
      for (const { operation, error } of result.failed) {
        const about = 'address' in operation ? { address: operation.address } : {};
        failures.push(failureOf(error, `links.${operation.op}`, subjectOf(operation), about));
      }
    }
    return { written, failures };
  }
}
