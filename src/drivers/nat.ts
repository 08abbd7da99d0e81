/** The rules of a realserver in nftables: observed once, then followed; a change costs what it changes. */
import type { DesiredRealserver } from '../desired/types.ts';
import { diffNat, natRemoval, type NatPlan } from '../diff/nat.ts';
import { NAT_TABLE } from '../diff/nat-layout.ts';
import { natState, readableSets, type NatState } from '../diff/nat-state.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import { KernelError } from '../native/errors.ts';
import type { ElementColumns, NftablesPort, NftOperation } from '../native/nftables-types.ts';
import type { DriverOutcome } from './outcome.ts';

/** Reads of a table that another process changes meanwhile are repeated this often. */
const readAttempts = 3;

export class NatDriver {
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

  /** In the kernel as last asked for. */
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

  async plan(desired: DesiredRealserver, keys?: ReadonlySet<VirtualServiceKey>): Promise<NatPlan> {
    return diffNat(await this.observe(), desired, keys === undefined ? {} : { keys });
  }

  async cleanupPlan(): Promise<NatPlan> {
    return natRemoval(await this.observe());
  }

  /** Transaction by transaction; the first that the kernel refuses ends it, and all knowledge with it. */
  async apply(plan: Pick<NatPlan, 'transactions'>): Promise<DriverOutcome> {
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
