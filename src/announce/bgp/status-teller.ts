/** Tells of VIPs whose status is another than it was, all of one moment together. */
import type { Address } from '../../model/cluster.ts';
import type { AnnouncementStatus } from '../announcer.ts';

export interface StatusTellerOptions {
  readonly addresses: () => Iterable<Address>;
  readonly status: (address: Address) => AnnouncementStatus | undefined;
  readonly tell: ((vips: readonly Address[]) => void) | undefined;
}

/** Of a VIP that nothing was told of yet. */
const unannounced = JSON.stringify([false, undefined]);

export class StatusTeller {
  readonly #options: StatusTellerOptions;
  readonly #told = new Map<Address, string>();
  #touched: Set<Address> | 'all' | undefined;

  constructor(options: StatusTellerOptions) {
    this.#options = options;
  }

  /** These may have changed. */
  touch(addresses: Iterable<Address> | 'all'): void {
    if (this.#options.tell === undefined) return;
    if (this.#touched === undefined) queueMicrotask(() => this.#compare());
    this.#touched ??= new Set();
    if (addresses === 'all') this.#touched = 'all';
    else if (this.#touched !== 'all') for (const address of addresses) this.#touched.add(address);
  }

  #compare(): void {
    const { addresses, status, tell } = this.#options;
    const touched = this.#touched === 'all' ? new Set([...addresses(), ...this.#told.keys()]) : (this.#touched ?? new Set());
    this.#touched = undefined;
    const changed: Address[] = [];
    for (const address of touched) {
      const now = status(address);
      // Whoever takes a VIP back knows.
      if (now === undefined) {
        this.#told.delete(address);
        continue;
      }
      const text = JSON.stringify([now.announced, now.reason]);
      if (text !== (this.#told.get(address) ?? unannounced)) changed.push(address);
      this.#told.set(address, text);
    }
    if (changed.length > 0) tell?.(changed);
  }
}
