/** Translation rules in nftables: a table for IPv4, and one for IPv6 where there is something IPv6. */
import type { DesiredNat, DesiredNatService } from '../desired/types.ts';
import { familyOfKey } from '../diff/nat-state.ts';
import type { NatPlan } from '../diff/nat.ts';
import type { AddressFamily } from '../model/address.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import type { NftablesPort } from '../native/nftables-types.ts';
import type { NatBackend, NatBackendPlan, NatChangeText } from './nat-backend.ts';
import { NatTable } from './nat-table.ts';
import { nftChanges } from './nat-text.ts';
import { failureOf, type DriverFailure, type DriverOutcome } from './outcome.ts';

/** A plan of {@link NatDriver}: one for each table. */
class NftPlan implements NatBackendPlan {
  readonly services: NatBackendPlan['services'];
  readonly plans: Readonly<Record<AddressFamily, NatPlan>>;

  constructor(plans: Readonly<Record<AddressFamily, NatPlan>>) {
    this.plans = plans;
    // Keys of IPv6 have a bracket where those of IPv4 have a digit, so each protocol has its families apart.
    this.services = [...plans[4].services, ...plans[6].services].sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  get empty(): boolean {
    return this.plans[4].transactions.length === 0 && this.plans[6].transactions.length === 0;
  }

  changes(): readonly NatChangeText[] {
    return [this.plans[4], this.plans[6]].flatMap(({ transactions }) => transactions.flat().flatMap(nftChanges));
  }
}

export class NatDriver implements NatBackend {
  readonly kind = 'nftables';
  readonly #tables: Readonly<Record<AddressFamily, NatTable>>;

  constructor(port: NftablesPort) {
    this.#tables = { 4: new NatTable(port, 4), 6: new NatTable(port, 6) };
  }

  get known(): boolean {
    return this.#tables[4].known && this.#tables[6].known;
  }

  get size(): number {
    return this.#tables[4].size + this.#tables[6].size;
  }

  async connections(): Promise<ReadonlyMap<VirtualServiceKey, number>> {
    const connections = new Map<VirtualServiceKey, number>();
    for (const family of [4, 6] as const) await this.#tables[family].addConnections(connections);
    return connections;
  }

  programmed(key: VirtualServiceKey): boolean {
    return this.#table(key).programmed(key);
  }

  #table(key: VirtualServiceKey): NatTable {
    return this.#tables[familyOfKey(key)];
  }

  forget(): void {
    this.#tables[4].forget();
    this.#tables[6].forget();
  }

  async observe(): Promise<void> {
    await this.#tables[4].observe();
    await this.#tables[6].observe();
  }

  *held(): Iterable<DesiredNatService> {
    yield* this.#tables[4].held();
    yield* this.#tables[6].held();
  }

  heldAt(key: VirtualServiceKey): DesiredNatService | undefined {
    return this.#table(key).heldAt(key, 'local');
  }

  insideAt(key: VirtualServiceKey): DesiredNatService | undefined {
    return this.#table(key).heldAt(key, 'inside');
  }

  async plan(desired: DesiredNat, keys?: ReadonlySet<VirtualServiceKey>): Promise<NatBackendPlan> {
    return new NftPlan({ 4: await this.#tables[4].plan(desired, keys), 6: await this.#tables[6].plan(desired, keys) });
  }

  async removal(): Promise<NatBackendPlan> {
    return new NftPlan({ 4: await this.#tables[4].removal(), 6: await this.#tables[6].removal() });
  }

  /**
   * Both tables, whatever becomes of the other one. A kernel without nat for IPv6 has its IPv4 rules all the same: what it
   * refuses of IPv6 is a failure of the outcome. Rejects when it refuses IPv4.
   */
  async apply(plan: NatBackendPlan): Promise<DriverOutcome> {
    if (!(plan instanceof NftPlan)) throw new TypeError('a plan of another backend');
    const six = await this.#apply6(plan.plans[6]);
    const written = await this.#tables[4].commit(plan.plans[4]);
    return { written: written + six.written, failures: six.failures };
  }

  async #apply6(plan: NatPlan): Promise<DriverOutcome> {
    const table = this.#tables[6];
    const failures: DriverFailure[] = [];
    try {
      return { written: await table.commit(plan), failures };
    } catch (error) {
      const failure = failureOf(error, 'nftables.commit', table.name);
      return { written: 0, failures: [{ ...failure, subject: table.name, message: `${table.name}: ${failure.message}`, family: 6 }] };
    }
  }
}
