/**
 * Director and realservers learn of a change at their own time. What keeps a first packet from meeting a node that has
 * no pod for it: a director waits for realservers before it sends them anything new (src/desired/drain.ts), and a
 * realserver keeps the rules of a virtual service for a bounded delay after its last local pod left. What is waiting is
 * kept in memory only: a restart waits anew, or, knowing nothing of before, not at all.
 */
import type { VirtualServiceKey } from '../model/cluster.ts';

/** Deadlines per virtual service and subject within it; a deadline counts from when it was first asked for. */
export class Waits {
  readonly #delay: number;
  readonly #now: () => number;
  readonly #until = new Map<VirtualServiceKey, Map<string, number>>();

  /** `delay` in milliseconds; 0 waits for nothing. */
  constructor(delay: number, now: () => number) {
    this.#delay = delay;
    this.#now = now;
  }

  /** Whether the subject still has to wait. The first call starts its wait. */
  holds(key: VirtualServiceKey, subject: string): boolean {
    if (this.#delay <= 0) return false;
    const waits = this.#until.get(key) ?? new Map<string, number>();
    const until = waits.get(subject) ?? this.#now() + this.#delay;
    this.#until.set(key, waits.set(subject, until));
    return this.#now() < until;
  }

  /** Nothing of the virtual service waits any more, or only these subjects. */
  settle(key: VirtualServiceKey, still: ReadonlySet<string> = new Set()): void {
    const waits = this.#until.get(key);
    for (const subject of waits?.keys() ?? []) if (!still.has(subject)) waits?.delete(subject);
    if (waits?.size === 0) this.#until.delete(key);
  }

  /** When each waiting virtual service is to be looked at again, on the clock given. */
  get due(): ReadonlyMap<VirtualServiceKey, number> {
    return new Map([...this.#until].map(([key, waits]) => [key, Math.min(...waits.values())]));
  }
}

/** `next`, or while it waits what was there before: for a node whose last pod has left. */
export function removeLater<Service>(
  waits: Waits,
  key: VirtualServiceKey,
  before: Service | undefined,
  next: Service | undefined,
): Service | undefined {
  if (next === undefined && before !== undefined && waits.holds(key, 'rules')) return before;
  waits.settle(key);
  return next;
}
