/** Our nftables table of one family: observed once, then followed. */
import type { DesiredNat, DesiredNatService } from '../desired/types.ts';
import { natLayout, slotsOf, type NatArea } from '../diff/nat-layout.ts';
import { natKey, natState, readableSets, serviceId, type NatEntry, type NatState } from '../diff/nat-state.ts';
import { diffNat, natRemoval, type NatPlan } from '../diff/nat.ts';
import type { AddressFamily } from '../model/address.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import { KernelError } from '../native/errors.ts';
import { forEachElement } from '../native/nftables-columns.ts';
import type { ElementColumns, NftablesPort, NftOperation, TableState } from '../native/nftables-types.ts';

/** Reads of a table that another process changes meanwhile are repeated this often. */
const readAttempts = 3;

/** What the maps hold for a virtual service, as if it were still asked for. */
function asDesired(area: NatArea, key: VirtualServiceKey, { id, comment, slots, verdict }: NatEntry): DesiredNatService {
  const pods = [...slots].sort(([a], [b]) => a - b).map(([, pod]) => pod);
  const shares = verdict !== undefined && 'chain' in verdict ? slotsOf(area, verdict.chain) : 0;
  return { key, ...id, comment: comment ?? '', pods, ...(shares > pods.length ? { slots: shares } : {}) };
}

export class NatTable {
  readonly family: AddressFamily;
  readonly #port: NftablesPort;
  #state: NatState | undefined;

  constructor(port: NftablesPort, family: AddressFamily) {
    this.#port = port;
    this.family = family;
  }

  /** `table ip ravel` */
  get name(): string {
    const { table } = natLayout(this.family, true);
    return `table ${table.family} ${table.name}`;
  }

  get known(): boolean {
    return this.#state !== undefined;
  }

  get size(): number {
    return this.#state === undefined ? 0 : this.#state.entries.size + this.#state.inside.size;
  }

  programmed(key: VirtualServiceKey): boolean {
    return this.#state?.entries.get(key)?.verdict !== undefined;
  }

  forget(): void {
    this.#state = undefined;
  }

  async observe(): Promise<NatState> {
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

  async #list(): Promise<TableState | undefined> {
    try {
      return await this.#port.list(natLayout(this.family, true).table);
    } catch (error) {
      if (KernelError.is(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  async #readOnce(): Promise<NatState> {
    const layout = natLayout(this.family, true);
    const table = await this.#list();
    const elements = new Map<string, ElementColumns>();
    try {
      for (const set of table === undefined ? [] : readableSets(layout, table)) {
        elements.set(set.name, await this.#port.elements(layout.table, set.name));
      }
    } catch (error) {
      // Gone between two questions: the generation tells, and it is read again.
      if (KernelError.is(error, 'ENOENT')) return natState(layout, undefined, new Map());
      throw error;
    }
    return natState(layout, table, elements);
  }

  /** Adds to `connections`, where the virtual services count. */
  async addConnections(connections: Map<VirtualServiceKey, number>): Promise<void> {
    const { table, local } = natLayout(this.family, true);
    const listed = await this.#list();
    if (listed?.sets.some(({ name, counter }) => name === local.services.name && counter === true) !== true) return;
    const columns = await this.#port.elements(table, local.services.name);
    forEachElement(local.services, columns, ({ key }, row) => {
      connections.set(natKey(serviceId(key)), columns.packets[row] ?? 0);
    });
  }

  *held(): Iterable<DesiredNatService> {
    if (this.#state === undefined) return;
    for (const [key, entry] of this.#state.entries) yield asDesired(this.#state.layout.local, key, entry);
  }

  heldAt(key: VirtualServiceKey, kind: NatArea['kind']): DesiredNatService | undefined {
    if (this.#state === undefined) return undefined;
    const area = this.#state.layout[kind];
    const entry = this.#state.entriesOf(area).get(key);
    return entry === undefined ? undefined : asDesired(area, key, entry);
  }

  async plan(desired: DesiredNat, keys?: ReadonlySet<VirtualServiceKey>): Promise<NatPlan> {
    return diffNat(await this.observe(), desired, keys === undefined ? {} : { keys });
  }

  async removal(): Promise<NatPlan> {
    return natRemoval(await this.observe());
  }

  /** Transaction by transaction; the first that the kernel refuses ends it, and all knowledge with it. Operations written. */
  async commit({ transactions }: NatPlan): Promise<number> {
    let written = 0;
    for (const operations of transactions) {
      try {
        await this.#port.commit(operations);
      } catch (error) {
        this.forget();
        throw error;
      }
      this.#state?.apply(operations);
      written += sizeOf(operations);
    }
    return written;
  }
}

/** Elements count one by one, as in the limit on transactions. */
function sizeOf(operations: readonly NftOperation[]): number {
  return operations.reduce((sum, operation) => sum + ('elements' in operation ? operation.elements.length : 1), 0);
}
