/**
 * Flows that go on to pods that are gone: found in the connection tracking table and deleted, after the rules
 * have changed. Level-triggered: the table is read each time, and what is stale in it goes, whenever it came.
 *
 * A packet that was on its way through the old rules may leave its entry behind the reading; the next pass finds it.
 */
import { reconciledProtocols, staleEntries, type ConntrackOptions, type ConntrackService, type StaleEntry } from '../diff/conntrack.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import type { ConntrackColumns, ConntrackPort } from '../native/conntrack-types.ts';
import { PROTOCOL_NAME } from '../native/ipvs-constants.ts';
import { failureOf, merge, type DriverFailure, type DriverOutcome } from './outcome.ts';

/** The entries of one protocol that go to virtual services of ours. */
export interface ObservedFlows {
  readonly entries: ConntrackColumns;
  readonly services: readonly ConntrackService[];
}

export interface ConntrackPlan {
  /** To be deleted, by protocol. */
  readonly parts: readonly { readonly entries: ConntrackColumns; readonly stale: readonly StaleEntry[] }[];
  /** How many entries of which virtual service, in order of their keys. */
  readonly services: readonly { readonly key: VirtualServiceKey; readonly entries: number }[];
}

export class ConntrackDriver {
  readonly #port: ConntrackPort;
  readonly #options: ConntrackOptions;
  /** Virtual services as last planned for, so that one that is desired no more is still looked after. */
  #served: ReadonlyMap<VirtualServiceKey, ConntrackService> = new Map();
  /** Those that are desired no more and may still have entries. */
  readonly #retired = new Map<VirtualServiceKey, ConntrackService>();

  constructor(port: ConntrackPort, options: ConntrackOptions = {}) {
    this.#port = port;
    this.#options = options;
  }

  /** Virtual services that are gone but are still looked after. */
  get retired(): number {
    return this.#retired.size;
  }

  /** Virtual services that an earlier process served, and that are desired no more: found in the rules it left. */
  retire(services: Iterable<Omit<ConntrackService, 'pods'>>): void {
    for (const service of services) this.#retired.set(service.key, { ...service, pods: [] });
  }

  /** What the kernel has of flows to these, protocol by protocol. Nothing is read where there is nothing to look for. */
  async observe(services: Iterable<ConntrackService>): Promise<readonly ObservedFlows[]> {
    const all = [...services];
    const observed: ObservedFlows[] = [];
    for (const number of reconciledProtocols(this.#options)) {
      const ofProtocol = all.filter((service) => service.protocol === number);
      const protocol = PROTOCOL_NAME.get(number);
      if (protocol === undefined || ofProtocol.length === 0) continue;
      const destinations = ofProtocol.map(({ address, port }) => ({ address, port }));
      observed.push({ entries: await this.#port.entries({ protocol, destinations }), services: ofProtocol });
    }
    return observed;
  }

  /**
   * The entries that are stale now. `desired` is what the rules say at this moment, not what they are to say:
   * called after they were written.
   */
  async plan(desired: ReadonlyMap<VirtualServiceKey, ConntrackService>): Promise<ConntrackPlan> {
    this.retire([...this.#served.values()].filter(({ key }) => !desired.has(key)));
    for (const key of desired.keys()) this.#retired.delete(key);
    this.#served = new Map(desired);
    const retired = new Map(this.#retired);
    const observed = await this.observe([...desired.values(), ...retired.values()]);
    const parts = observed.map(({ entries, services }) => ({ entries, stale: staleEntries(entries, services, this.#options) }));
    const counts = new Map<VirtualServiceKey, number>();
    for (const { key } of parts.flatMap(({ stale }) => stale)) counts.set(key, (counts.get(key) ?? 0) + 1);
    // Its last entry was seen to be gone: by a reading, not by a deletion that raced with a packet.
    for (const key of retired.keys()) if (!counts.has(key)) this.#retired.delete(key);
    return {
      parts: parts.filter(({ stale }) => stale.length > 0),
      services: [...counts].map(([key, entries]) => ({ key, entries })).sort((a, b) => (a.key < b.key ? -1 : 1)),
    };
  }

  /** Deletes what is planned; what has ended by itself meanwhile is neither written nor a failure. */
  async apply(plan: Pick<ConntrackPlan, 'parts'>): Promise<DriverOutcome> {
    const outcomes: DriverOutcome[] = [];
    for (const { entries, stale } of plan.parts) {
      const keys = new Map(stale.map(({ row, key }) => [row, key]));
      const { removed, failed } = await this.#port.remove(entries, keys.keys());
      const failures = failed.map(({ row, error }): DriverFailure => {
        const key = keys.get(row);
        return failureOf(error, 'conntrack.remove', error.subject, key === undefined ? {} : { key });
      });
      outcomes.push({ written: removed, failures });
    }
    return merge(outcomes);
  }
}
