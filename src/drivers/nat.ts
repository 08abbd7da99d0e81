/** Translation rules in nftables: observed once, then followed; a change costs what it changes. */
import type { DesiredNat, DesiredNatService } from '../desired/types.ts';
import { forEachElement } from '../native/nftables-columns.ts';
import { NAT_TABLE, SERVICES } from '../diff/nat-layout.ts';
import { natKey, natState, readableSets, type NatEntry, type NatState } from '../diff/nat-state.ts';
import { diffNat, natRemoval, type NatPlan } from '../diff/nat.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import { KernelError } from '../native/errors.ts';
import type { ElementColumns, NftablesPort, NftOperation } from '../native/nftables-types.ts';
import type { NatBackend, NatBackendPlan, NatChangeText } from './nat-backend.ts';
import { nftChanges } from './nat-text.ts';
import type { DriverOutcome } from './outcome.ts';

/** Reads of a table that another process changes meanwhile are repeated this often. */
const readAttempts = 3;

/** A plan of {@link NatDriver}. */
class NftPlan implements NatBackendPlan {
  readonly services: NatBackendPlan['services'];
  readonly transactions: NatPlan['transactions'];

  constructor({ services, transactions }: NatPlan) {
    this.services = services;
    this.transactions = transactions;
  }

  get empty(): boolean {
    return this.transactions.length === 0;
  }

  changes(): readonly NatChangeText[] {
    return this.transactions.flat().flatMap(nftChanges);
  }
}

/** What the maps hold for a virtual service, as if it were still asked for. */
function asDesired(key: VirtualServiceKey, { id, comment, slots }: NatEntry): DesiredNatService {
  const pods = [...slots].sort(([a], [b]) => a - b).map(([, pod]) => pod);
  return { key, ...id, comment: comment ?? '', pods };
}

export class NatDriver implements NatBackend {
  readonly kind = 'nftables';
  readonly #port: NftablesPort;
  #state: NatState | undefined;

  constructor(port: NftablesPort) {
    this.#port = port;
  }

  get known(): boolean {
    return this.#state !== undefined;
  }

  get size(): number {
    return this.#state?.entries.size ?? 0;
  }

  async connections(): Promise<ReadonlyMap<VirtualServiceKey, number>> {
    const connections = new Map<VirtualServiceKey, number>();
    let columns: ElementColumns;
    try {
      columns = await this.#port.elements(NAT_TABLE, SERVICES.name);
    } catch (error) {
      if (KernelError.is(error, 'ENOENT')) return connections;
      throw error;
    }
    let row = 0;
    forEachElement(SERVICES, columns, ({ key }) => {
      const id = { address: String(key[0]), protocol: Number(key[1]), port: Number(key[2]) };
      connections.set(natKey(id), columns.packets[row] ?? 0);
      row += 1;
    });
    return connections;
  }

  programmed(key: VirtualServiceKey): boolean {
    return this.#state?.entries.get(key)?.verdict !== undefined;
  }

  forget(): void {
    this.#state = undefined;
  }

  async observe(): Promise<void> {
    await this.#observed();
  }

  async #observed(): Promise<NatState> {
    this.#state ??= await this.#read();
    return this.#state;
  }

  /** Several dumps make one picture only when nothing changed between them. */
  async #read(): Promise<NatState> {
    for (let attempt = 1; ; attempt += 1) {
      const before = await this.#port.generation();
      const state = await this.#readOnce();
      if ((await this.#port.generation()) === before || attempt === readAttempts) return state;
    }
  }

  async #readOnce(): Promise<NatState> {
    try {
      const table = await this.#port.list(NAT_TABLE);
      const elements = new Map<string, ElementColumns>();
      for (const set of readableSets(table)) elements.set(set.name, await this.#port.elements(NAT_TABLE, set.name));
      return natState(table, elements);
    } catch (error) {
      if (KernelError.is(error, 'ENOENT')) return natState(undefined, new Map());
      throw error;
    }
  }

  *held(): Iterable<DesiredNatService> {
    for (const [key, entry] of this.#state?.entries ?? []) yield asDesired(key, entry);
  }

  heldAt(key: VirtualServiceKey): DesiredNatService | undefined {
    const entry = this.#state?.entries.get(key);
    return entry === undefined ? undefined : asDesired(key, entry);
  }

  async plan(desired: DesiredNat, keys?: ReadonlySet<VirtualServiceKey>): Promise<NatBackendPlan> {
    return new NftPlan(diffNat(await this.#observed(), desired, keys === undefined ? {} : { keys }));
  }

  async removal(): Promise<NatBackendPlan> {
    return new NftPlan(natRemoval(await this.#observed()));
  }

  /** Transaction by transaction; the first that the kernel refuses ends it, and all knowledge with it. */
  async apply(plan: NatBackendPlan): Promise<DriverOutcome> {
    if (!(plan instanceof NftPlan)) throw new TypeError('a plan of another backend');
    let written = 0;
    for (const operations of plan.transactions) {
      try {
        await this.#port.commit(operations);
      } catch (error) {
        this.forget();
        throw error;
      }
      this.#state?.apply(operations);
      written += size(operations);
    }
    return { written, failures: [] };
  }
}

/** Elements count one by one, as in the limit on transactions. */
function size(operations: readonly NftOperation[]): number {
  return operations.reduce((sum, operation) => sum + ('elements' in operation ? operation.elements.length : 1), 0);
}
