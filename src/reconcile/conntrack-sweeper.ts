/**
 * When to look for flows that go where nobody is any more: after rules have changed, not more often than every 200
 * ms, and once more a second later, for a packet that was on its way through the old rules leaves its entry behind the
 * first look. What cannot be looked at is told, and is no reason to take the rules for unwritten.
 */
import type { ConntrackService } from '../diff/conntrack.ts';
import type { ConntrackDriver } from '../drivers/conntrack.ts';
import { failureOf } from '../drivers/outcome.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import type { Clock, Timer } from '../model/clock.ts';
import { UnsupportedError } from '../native/errors.ts';
import type { Log } from '../observe/log.ts';

type Services = ReadonlyMap<VirtualServiceKey, ConntrackService>;

const shortest = 200;
const again = 1000;

export interface ConntrackSweeperOptions {
  readonly driver: ConntrackDriver;
  readonly clock: Clock;
  readonly log: Log;
}

export class ConntrackSweeper {
  readonly #options: ConntrackSweeperOptions;
  #services: Services = new Map();
  /** Until the later look: their flows that no rule translates are of a time before there was one. */
  #begun = new Set<VirtualServiceKey>();
  #last = Number.NEGATIVE_INFINITY;
  #soon: Timer | undefined;
  #later: Timer | undefined;
  /** Never rejects. */
  #running: Promise<void> = Promise.resolve();
  /** Begins when {@link #running} has settled. */
  #waiting: Promise<void> | undefined;
  #warning: string | undefined;
  #removed = 0;

  constructor(options: ConntrackSweeperOptions) {
    this.#options = options;
  }

  /** What went wrong in the last look; for `status`. */
  get warnings(): readonly string[] {
    return this.#warning === undefined ? [] : [this.#warning];
  }

  /** Entries deleted since the start. */
  get removed(): number {
    return this.#removed;
  }

  /** Virtual services that an earlier process served: what is left of them goes, too. */
  retire(services: Iterable<Omit<ConntrackService, 'pods'>>): void {
    this.#options.driver.retire(services);
  }

  /** Rules are now as `services` say, those of `begun` for the first time. Looks at once where it may; never rejects. */
  async after(services: Services, begun: Iterable<VirtualServiceKey> = []): Promise<void> {
    const { clock } = this.#options;
    this.#services = services;
    for (const key of begun) this.#begun.add(key);
    this.#later?.cancel();
    this.#later = clock.after(again, () => void this.#look().then(() => this.#begun.clear()));
    const wait = this.#last + shortest - clock.now();
    if (wait <= 0) return this.#look();
    this.#soon ??= clock.after(wait, () => void this.#look());
  }

  /** No look any more until rules change again. */
  stop(): void {
    this.#soon?.cancel();
    this.#later?.cancel();
    this.#soon = undefined;
    this.#later = undefined;
    this.#begun.clear();
  }

  /** One at a time, and at most one that waits: it sees all that was asked for until it begins. */
  #look(): Promise<void> {
    this.#soon?.cancel();
    this.#soon = undefined;
    this.#waiting ??= this.#running.then(() => {
      this.#waiting = undefined;
      this.#last = this.#options.clock.now();
      return (this.#running = this.#sweep());
    });
    return this.#waiting;
  }

  #wanted(): Services {
    if (this.#begun.size === 0) return this.#services;
    const services = new Map(this.#services);
    for (const key of this.#begun) {
      const service = services.get(key);
      if (service !== undefined) services.set(key, { ...service, keepUntranslated: false });
    }
    return services;
  }

  async #sweep(): Promise<void> {
    const { driver, log } = this.#options;
    const before = this.#warning;
    try {
      const plan = await driver.plan(this.#wanted());
      const { written, failures } = await driver.apply(plan);
      this.#removed += written;
      this.#warning = failures[0]?.message;
      if (written > 0) {
        const [first] = plan.services;
        log.info('flows to pods that are gone were ended', { entries: written, services: plan.services.length, first: first?.key });
      }
    } catch (error) {
      this.#warning =
        error instanceof UnsupportedError
          ? `senders that never pause may go on to pods that are gone: ${error.message}`
          : failureOf(error, 'conntrack', 'connection tracking table').message;
    }
    if (this.#warning !== undefined && this.#warning !== before) log.warn(this.#warning);
  }
}
