/**
 * A connection tracking table behind nat rules, as far as the reconciler can see: the first packet of a flow asks
 * the rules, its entry answers for the others. Ids are handed out again as the kernel does (nf_ct_get_id): the
 * same to every entry of the same original tuple.
 */
import { conntrackColumns, conntrackEntryAt, conntrackText } from '../../src/native/conntrack-columns.ts';
import type {
  ConntrackColumns,
  ConntrackEndpoint,
  ConntrackEntry,
  ConntrackFailure,
  ConntrackFilter,
  ConntrackPort,
  ConntrackRemoval,
} from '../../src/native/conntrack-types.ts';
import { KernelError } from '../../src/native/errors.ts';
import type { Protocol } from '../../src/native/ipvs-types.ts';
import type { Faults } from './faults.ts';
import type { Journal } from './journal.ts';

export interface Packet {
  readonly protocol: Protocol;
  readonly source: ConntrackEndpoint;
  readonly destination: ConntrackEndpoint;
}

/** Who gets the first packet of a flow; undefined: no rule translates it. */
export type Rules = (packet: Packet) => ConntrackEndpoint | undefined;

const text = ({ address, port }: ConntrackEndpoint): string => `${address} ${port}`;
const original = ({ protocol, source, destination }: Packet): string => [protocol, text(source), text(destination)].join(' ');
const reply = (entry: ConntrackEntry): string =>
  [entry.protocol, entry.zone, text(entry.reply.source), text(entry.reply.destination)].join(' ');

export class FakeConntrack implements ConntrackPort {
  rules: Rules;
  readonly #entries = new Map<string, ConntrackEntry>();
  readonly #ids = new Map<string, number>();
  /** What the driver asked for, in order. */
  readonly calls: string[] = [];
  /** Errno of the deletions to come, by the client's port. */
  readonly refuse = new Map<number, { readonly errno: number; readonly code: string }>();
  /** Called between a reading and what follows it. */
  afterEntries: () => void = () => undefined;

  readonly #faults: Faults | undefined;
  readonly #journal: Journal | undefined;

  constructor(rules: Rules = () => undefined, faults?: Faults, journal?: Journal) {
    this.rules = rules;
    this.#faults = faults;
    this.#journal = journal;
  }

  get table(): readonly ConntrackEntry[] {
    return [...this.#entries.values()];
  }

  /** A packet comes in: who gets it. */
  send(packet: Packet): ConntrackEndpoint {
    const key = original(packet);
    const known = this.#entries.get(key);
    if (known !== undefined) return known.reply.source;
    const to = this.rules(packet) ?? packet.destination;
    const id = this.#ids.get(key) ?? this.#ids.size + 1;
    this.#ids.set(key, id);
    this.#entries.set(key, {
      protocol: packet.protocol,
      original: { source: packet.source, destination: packet.destination },
      reply: { source: to, destination: packet.source },
      id,
      status: 0,
      mark: 0,
      timeoutSeconds: 30,
      zone: 0,
      zoneDirection: 'both',
    });
    return to;
  }

  /** The sender was silent for so long that its flows are forgotten. */
  expire(source: ConntrackEndpoint): void {
    for (const [key, entry] of this.#entries) if (text(entry.original.source) === text(source)) this.#entries.delete(key);
  }

  async entries(filter: ConntrackFilter = {}): Promise<ConntrackColumns> {
    await Promise.resolve();
    this.#faults?.throwNext('conntrack.entries', filter.protocol ?? 'all');
    const wanted = this.table.filter(({ protocol, original: { destination } }) => {
      if (filter.protocol !== undefined && filter.protocol !== protocol) return false;
      if (filter.family !== undefined && (filter.family === 'ipv6') !== destination.address.includes(':')) return false;
      return (
        filter.destinations?.some(
          ({ address, port }) => address === destination.address && (port ?? destination.port) === destination.port,
        ) ?? true
      );
    });
    this.calls.push(`entries ${filter.protocol ?? 'all'} ${String(filter.destinations?.length ?? 'everywhere')}`);
    const columns = conntrackColumns(wanted);
    this.afterEntries();
    return columns;
  }

  remove(entries: ConntrackColumns, rows: Iterable<number> = entries.id.keys()): Promise<ConntrackRemoval> {
    const gone: number[] = [];
    const failed: ConntrackFailure[] = [];
    let removed = 0;
    for (const [index, row] of [...rows].entries()) {
      const wanted = conntrackEntryAt(entries, row);
      const found = [...this.#entries].find(([, entry]) => reply(entry) === reply(wanted) && entry.id === wanted.id);
      const refused = this.refuse.get(wanted.original.source.port);
      if (refused !== undefined) {
        failed.push({ row, error: new KernelError({ op: 'conntrack.remove', subject: conntrackText(wanted), index, ...refused }) });
      } else if (found === undefined) gone.push(row);
      else {
        this.#entries.delete(found[0]);
        removed += 1;
      }
    }
    if (removed > 0) this.#journal?.write('conntrack.remove', 'entries', undefined, removed);
    this.calls.push(`remove ${String(removed + gone.length + failed.length)}`);
    return Promise.resolve({ removed, gone, failed });
  }
}
