/** VIPs as addresses of the VIP device, and the device itself. */
import type { Address } from '../model/cluster.ts';
import { KernelError, UnsupportedError } from '../native/errors.ts';
import type { InterfaceAddress, Link, LinkOperation, LinksPort } from '../native/link-types.ts';
import { failureOf, nothingDone, type DriverFailure, type DriverOutcome } from './outcome.ts';
import { addressProtocol, ownsAddress, ownsDevice } from './ownership.ts';

/** What the kernel holds of devices and addresses, as far as the agent cares. */
export interface ObservedAddresses {
  readonly device: Link | undefined;
  readonly deviceIsOurs: boolean;
  /** Ours on the VIP device, with the prefix they have there. */
  readonly placed: ReadonlyMap<Address, number>;
  /** All devices by name: hardware addresses, and whether they are up. */
  readonly links: ReadonlyMap<string, Link>;
}

const hostPrefix = (address: Address): number => (address.includes(':') ? 128 : 32);

export function observed(links: readonly Link[], addresses: readonly InterfaceAddress[], vipInterface: string): ObservedAddresses {
  const device = links.find(({ name }) => name === vipInterface);
  const deviceIsOurs = device !== undefined && ownsDevice(device, vipInterface);
  const ours = addresses.filter((address) => address.interfaceIndex === device?.index && ownsAddress(address, deviceIsOurs));
  return {
    device,
    deviceIsOurs,
    placed: new Map(ours.map(({ address, prefix }) => [address, prefix])),
    links: new Map(links.map((link) => [link.name, link])),
  };
}

/** The device as it must be: there, up, and mute (NOARP: it never resolves and never announces). */
function deviceOperations({ device, deviceIsOurs }: ObservedAddresses, vipInterface: string): LinkOperation[] {
  if (device === undefined) return [{ op: 'addDummy', name: vipInterface, noArp: true, up: true }];
  if (!deviceIsOurs || (device.up && device.noArp)) return [];
  return [{ op: 'setLink', name: vipInterface, up: true, noArp: true }];
}

function addOperation(address: Address, vipInterface: string): LinkOperation {
  const base = { op: 'addAddress', interface: vipInterface, address, prefix: hostPrefix(address), protocol: addressProtocol } as const;
  // Deprecated (preferred lifetime 0): never chosen as a source address. IPv4 has no such choice for a /32.
  return address.includes(':') ? { ...base, noPrefixRoute: true, noDad: true, preferredSeconds: 0 } : { ...base, noPrefixRoute: true };
}

/** What makes the VIPs present; run before anything that needs them. */
export function planUp(desired: Iterable<Address>, state: ObservedAddresses, vipInterface: string): LinkOperation[] {
  const missing = [...desired].filter((address) => state.placed.get(address) !== hostPrefix(address));
  if (missing.length === 0 && state.device === undefined) return [];
  return [...deviceOperations(state, vipInterface), ...missing.map((address) => addOperation(address, vipInterface))];
}

/** What removes VIPs that are no longer wanted; run after everything that used them is gone. */
export function planDown(desired: ReadonlySet<Address>, state: ObservedAddresses, vipInterface: string): LinkOperation[] {
  return [...state.placed]
    .filter(([address, prefix]) => !desired.has(address) || prefix !== hostPrefix(address))
    .map(([address, prefix]) => ({ op: 'deleteAddress', interface: vipInterface, address, prefix }));
}

const subjectOf = (operation: LinkOperation): string =>
  'address' in operation ? `${operation.address}/${operation.prefix}` : 'name' in operation ? operation.name : operation.destination;

/** Knows what is placed; writes only the difference. */
export class AddressDriver {
  readonly #links: Pick<LinksPort, 'links' | 'addresses' | 'apply'>;
  readonly vipInterface: string;
  #state: ObservedAddresses | undefined;

  constructor(links: Pick<LinksPort, 'links' | 'addresses' | 'apply'>, vipInterface: string) {
    this.#links = links;
    this.vipInterface = vipInterface;
  }

  /** What was last observed and since then changed by us; undefined when it cannot be relied on. */
  get state(): ObservedAddresses | undefined {
    return this.#state;
  }

  /** The next pass reads everything again. */
  forget(): void {
    this.#state = undefined;
  }

  async observe(): Promise<ObservedAddresses> {
    if (this.#state !== undefined) return this.#state;
    const [links, addresses] = await Promise.all([this.#links.links(), this.#links.addresses()]);
    this.#state = observed(links, addresses, this.vipInterface);
    return this.#state;
  }

  async raise(desired: readonly Address[]): Promise<DriverOutcome> {
    return this.#apply(planUp(desired, await this.observe(), this.vipInterface));
  }

  async lower(desired: ReadonlySet<Address>): Promise<DriverOutcome> {
    return this.#apply(planDown(desired, await this.observe(), this.vipInterface));
  }

  /** Removes all of ours, and the device when it is ours. */
  async cleanupOperations(): Promise<LinkOperation[]> {
    const state = await this.observe();
    // The kernel drops the addresses of a device with it.
    if (state.deviceIsOurs) return [{ op: 'deleteLink', name: this.vipInterface }];
    return planDown(new Set(), state, this.vipInterface);
  }

  async apply(operations: readonly LinkOperation[]): Promise<DriverOutcome> {
    return this.#apply(operations);
  }

  async #apply(operations: readonly LinkOperation[]): Promise<DriverOutcome> {
    if (operations.length === 0) return nothingDone;
    try {
      const result = await this.#links.apply(operations);
      const failures = result.failed.map(({ operation, error }): DriverFailure => {
        const about = 'address' in operation ? { address: operation.address } : {};
        return failureOf(error, `links.${operation.op}`, subjectOf(operation), about);
      });
      if (failures.length > 0 || operations.some(({ op }) => op !== 'addAddress' && op !== 'deleteAddress')) this.forget();
      else this.#note(operations);
      return { written: operations.length - failures.length, failures };
    } catch (error) {
      this.forget();
      if (!(error instanceof KernelError) && !(error instanceof UnsupportedError)) throw error;
      return { written: 0, failures: [failureOf(error, 'links.apply', this.vipInterface)] };
    }
  }

  /** Keeps the picture true without reading it again. */
  #note(operations: readonly LinkOperation[]): void {
    if (this.#state === undefined) return;
    const placed = new Map(this.#state.placed);
    for (const operation of operations) {
      if (operation.op === 'addAddress') placed.set(operation.address, operation.prefix);
      if (operation.op === 'deleteAddress') placed.delete(operation.address);
    }
    this.#state = { ...this.#state, placed };
  }
}
