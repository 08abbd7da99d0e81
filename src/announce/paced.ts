import type { Address, Reason } from '../model/cluster.ts';
import type { Clock, Random, Timer } from '../model/clock.ts';
import { KernelError } from '../native/errors.ts';
import type { AnnouncementStatus, Announcer } from './announcer.ts';
import { TokenBucket } from './bucket.ts';
import { Ring } from './ring.ts';

/** At take-over everything that any system learns from; later the least that keeps switches from forgetting. */
export type Round = 'takeOver' | 'refresh';

/** How announcements of one family leave. */
export interface Transport {
  /** Frames per address in a round. */
  readonly frames: Readonly<Record<Round, number>>;
  /** One system call; resolves to the number of frames sent. */
  send(addresses: readonly Address[], round: Round): Promise<number>;
}

export interface AnnouncerOptions {
  readonly interface: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Milliseconds between two refreshes of one VIP, spread by a tenth. */
  readonly refreshMilliseconds: number;
  /** Frames a second at most, on this interface. */
  readonly framesPerSecond: number;
  /** What frames are taken from when others send on this interface, too. Absent: one of its own. */
  readonly bucket?: TokenBucket;
  /** A send failed; it is tried again. */
  readonly onFailure?: (error: unknown, addresses: readonly Address[]) => void;
  /** First successful announcement of a VIP since it was taken over. */
  readonly onAnnounced?: (addresses: readonly Address[]) => void;
}

interface Vip {
  /** Number of the burst in progress; a group of another number is stale. */
  burst: number;
  rounds: number;
  announced: boolean;
  frames: number;
  conflicts: number;
  conflictMac: string;
  conflictAt: number;
  defendedAt: number;
  failure: Reason | undefined;
}

/** VIPs that are due together: one system call announces them. */
interface Group {
  readonly at: number;
  readonly round: number;
  readonly burst: number;
  readonly addresses: readonly Address[];
}

/** Take-over: five announcements over two seconds, because a single broadcast frame may be lost. */
const burstRounds = 5;
const burstSpacing = 500;
/** Refreshes of many VIPs are sent together at most this often, milliseconds. */
const shortestTick = 100;
/** RFC 5227 section 2.4, DEFEND_INTERVAL: an answer to a conflict at most once in ten seconds. */
const defendInterval = 10_000;
/** A conflict is over when nobody else claimed the address for this long. */
const conflictMemory = 60_000;
const longestRetry = 10_000;

/** Why a frame could not leave, in the words that status uses. */
export function sendReason(interfaceName: string, error: unknown): Reason {
  const message = error instanceof Error ? error.message : String(error);
  if (KernelError.is(error, 'ENODEV') || KernelError.is(error, 'ENXIO')) {
    return { code: 'InterfaceMissing', message: `${interfaceName}: ${message}` };
  }
  if (KernelError.is(error, 'ENETDOWN')) return { code: 'InterfaceDown', message: `${interfaceName}: ${message}` };
  return { code: 'NotProgrammed', message };
}

/**
 * Tells the segment which host holds the VIPs: at take-over a burst, then a slow refresh for switches
 * whose table forgets sooner than their neighbours. Stateless towards the network: stopping is just silence.
 */
export class PacedAnnouncer implements Announcer {
  readonly #options: AnnouncerOptions;
  readonly #transport: Transport;
  readonly #bucket: TokenBucket;
  readonly #vips = new Map<Address, Vip>();
  readonly #ring = new Ring();
  #groups: Group[] = [];
  #burst = 0;
  #refreshAt = Number.POSITIVE_INFINITY;
  #timer: Timer | undefined;
  #sending = false;
  #failures = 0;
  #stopped = false;

  constructor(transport: Transport, options: AnnouncerOptions) {
    this.#options = options;
    this.#transport = transport;
    this.#bucket = options.bucket ?? new TokenBucket(options.clock, options.framesPerSecond, options.framesPerSecond);
  }

  has(address: Address): boolean {
    return this.#vips.has(address);
  }

  get addresses(): Iterable<Address> {
    return this.#vips.keys();
  }

  /** Takes over VIPs. Those already held go on undisturbed. */
  announce(addresses: Iterable<Address>): void {
    const fresh: Address[] = [];
    for (const address of addresses) {
      if (this.#vips.has(address)) continue;
      this.#vips.set(address, {
        ...{ burst: 0, rounds: 0, announced: false, frames: 0, conflicts: 0, conflictMac: '' },
        ...{ conflictAt: Number.NEGATIVE_INFINITY, defendedAt: Number.NEGATIVE_INFINITY, failure: undefined },
      });
      this.#ring.add(address);
      fresh.push(address);
    }
    this.#start(fresh);
  }

  /** No frame for these VIPs leaves after the one that may be under way. */
  withdraw(addresses: Iterable<Address>): void {
    for (const address of addresses) {
      this.#vips.delete(address);
      this.#ring.delete(address);
    }
  }

  /** The link came up, or the segment changed: whoever is out there may know nothing. */
  announceAgain(): void {
    this.#start([...this.#vips.keys()]);
  }

  /** Someone else claimed a VIP. Counted each time, answered at most every ten seconds. */
  conflict(address: Address, mac: string): boolean {
    const vip = this.#vips.get(address);
    if (vip === undefined) return false;
    const now = this.#options.clock.now();
    vip.conflicts += 1;
    vip.conflictMac = mac;
    vip.conflictAt = now;
    if (now - vip.defendedAt >= defendInterval) {
      vip.defendedAt = now;
      this.#start([address]);
    }
    return true;
  }

  status(address: Address): AnnouncementStatus | undefined {
    const vip = this.#vips.get(address);
    if (vip === undefined) return undefined;
    const disputed = this.#options.clock.now() - vip.conflictAt < conflictMemory;
    const reason: Reason | undefined = disputed
      ? { code: 'AddressConflict', message: `${vip.conflictMac} also claims ${address} on ${this.#options.interface}` }
      : vip.failure;
    return { address, announced: vip.announced, frames: vip.frames, conflicts: vip.conflicts, reason };
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#groups = [];
  }

  #start(addresses: readonly Address[]): void {
    if (addresses.length === 0 || this.#stopped) return;
    this.#burst += 1;
    const now = this.#options.clock.now();
    for (const address of addresses) {
      const vip = this.#vips.get(address);
      if (vip === undefined) continue;
      vip.burst = this.#burst;
      vip.rounds = 0;
    }
    this.#groups.push({ at: now, round: 0, burst: this.#burst, addresses });
    this.#refreshAt = Math.min(this.#refreshAt, now + this.#tick().interval);
    this.#pump();
  }

  /** How many VIPs a refresh covers, and when the next one is: always the same pace per VIP. */
  #tick(): { count: number; interval: number } {
    const each = this.#options.refreshMilliseconds / Math.max(1, this.#ring.size);
    const count = Math.max(1, Math.ceil(shortestTick / each));
    return { count, interval: count * each * (0.9 + 0.2 * this.#options.random()) };
  }

  /** Sends what is due, one call at a time, and sets the timer for what is not. */
  #pump(): void {
    if (this.#sending || this.#stopped) return;
    this.#timer?.cancel();
    this.#forgetStale();
    const now = this.#options.clock.now();
    // First announcements before repetitions, whatever waited longer.
    const due = this.#groups.filter((group) => group.at <= now).sort((a, b) => a.round - b.round || a.at - b.at)[0];
    const refresh = due === undefined && this.#refreshAt <= now;
    const wait = due !== undefined ? this.#sendGroup(due) : refresh ? this.#sendRefresh(now) : undefined;
    // The end of what is being sent comes back here.
    if (wait === 'sending') return;
    const next = Math.min(this.#refreshAt, ...this.#groups.map((group) => group.at)) - now;
    const delay = wait ?? next;
    if (Number.isFinite(delay)) this.#timer = this.#options.clock.after(Math.max(delay, 0), () => this.#pump());
  }

  /** Drops VIPs that were withdrawn or that a newer burst covers. */
  #forgetStale(): void {
    this.#groups = this.#groups.flatMap((group) => {
      const addresses = group.addresses.filter((address) => this.#vips.get(address)?.burst === group.burst);
      return addresses.length === 0 ? [] : [{ ...group, addresses }];
    });
    if (this.#ring.size === 0) this.#refreshAt = Number.POSITIVE_INFINITY;
  }

  /** Sends as much of the group as there are tokens for; without any, the milliseconds to wait. */
  #sendGroup(group: Group): number | 'sending' {
    const each = this.#transport.frames.takeOver;
    const tokens = this.#bucket.take(group.addresses.length * each);
    const count = Math.floor(tokens / each);
    this.#bucket.giveBack(tokens - count * each);
    if (count === 0) return Math.max(1, this.#bucket.delay(each));
    this.#groups = this.#groups.filter((other) => other !== group);
    const addresses = group.addresses.slice(0, count);
    if (count < group.addresses.length) this.#groups.push({ ...group, addresses: group.addresses.slice(count) });
    const again = (at: number, round: number) => void this.#groups.push({ at, round, burst: group.burst, addresses });
    const sent = (at: number) => group.round + 1 < burstRounds && again(at + burstSpacing, group.round + 1);
    void this.#send(addresses, 'takeOver', sent, (at) => again(at, group.round));
    return 'sending';
  }

  /** The same for what is at rest; undefined when nothing was due after all. */
  #sendRefresh(now: number): number | 'sending' | undefined {
    const { count, interval } = this.#tick();
    const each = this.#transport.frames.refresh;
    const tokens = this.#bucket.take(count * each);
    const possible = Math.floor(tokens / each);
    if (possible === 0) {
      this.#bucket.giveBack(tokens);
      return Math.max(1, this.#bucket.delay(each));
    }
    this.#refreshAt = now + interval;
    // A VIP in its burst needs no refresh, and gets its turn in the next round.
    const addresses = this.#ring.next(possible).filter((address) => (this.#vips.get(address)?.rounds ?? 0) >= burstRounds);
    this.#bucket.giveBack(tokens - addresses.length * each);
    if (addresses.length === 0) return undefined;
    void this.#send(
      addresses,
      'refresh',
      () => {},
      (at) => void (this.#refreshAt = Math.max(this.#refreshAt, at)),
    );
    return 'sending';
  }

  async #send(addresses: readonly Address[], round: Round, sent: (at: number) => unknown, retry: (at: number) => void): Promise<void> {
    this.#sending = true;
    const at = this.#options.clock.now();
    const each = this.#transport.frames[round];
    try {
      const frames = await this.#transport.send(addresses, round);
      if (frames < addresses.length * each)
        throw new Error(`only ${frames} of ${addresses.length * each} frames left ${this.#options.interface}`);
      this.#failures = 0;
      this.#noteSent(addresses, each);
      sent(at);
    } catch (error) {
      const reason = sendReason(this.#options.interface, error);
      for (const address of addresses) {
        const vip = this.#vips.get(address);
        if (vip !== undefined) Object.assign(vip, { announced: false, failure: reason });
      }
      this.#failures += 1;
      retry(at + Math.min(longestRetry, 250 * 2 ** Math.min(this.#failures, 10)) * (0.8 + 0.4 * this.#options.random()));
      this.#options.onFailure?.(error, addresses);
    } finally {
      this.#sending = false;
      this.#pump();
    }
  }

  #noteSent(addresses: readonly Address[], frames: number): void {
    const first: Address[] = [];
    for (const address of addresses) {
      const vip = this.#vips.get(address);
      if (vip === undefined) continue;
      if (!vip.announced) first.push(address);
      vip.announced = true;
      vip.failure = undefined;
      vip.frames += frames;
      vip.rounds += 1;
    }
    if (first.length > 0) this.#options.onAnnounced?.(first);
  }
}
