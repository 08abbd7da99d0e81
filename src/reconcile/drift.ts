/**
 * What the kernel tells about changes that are not ours. rtnetlink and nftables speak up; IPVS does
 * not, and is left to the audit of the loop.
 */
import { NAT_TABLE, NAT_TABLE_6 } from '../diff/nat-layout.ts';
import { isAborted } from '../model/aborted.ts';
import type { Address } from '../model/cluster.ts';
import type { Clock, Random } from '../model/clock.ts';
import type { LinkEvent } from '../native/link-types.ts';
import type { NftEvent, TableId } from '../native/nftables-types.ts';
import { errorFields, type Log } from '../observe/log.ts';
import { Backoff } from '../model/backoff.ts';

export interface StreamOptions<Event> {
  /** For the log: `nftables events`. */
  readonly name: string;
  readonly open: (signal: AbortSignal) => AsyncIterable<Event>;
  readonly onEvent: (event: Event) => void;
  /** The stream broke and was opened again: what happened in between is unknown. */
  readonly onGap: () => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Keeps listening until the signal aborts, whatever happens to the stream. */
export async function keepListening<Event>(options: StreamOptions<Event>, signal: AbortSignal): Promise<void> {
  const backoff = new Backoff({ random: options.random, first: 250 });
  let gap = false;
  let reported = '';
  while (!signal.aborted) {
    try {
      const events = options.open(signal);
      if (gap) options.onGap();
      for await (const event of events) {
        backoff.succeed();
        reported = '';
        options.onEvent(event);
      }
    } catch (error) {
      if (!isAborted(signal)) {
        const fields = errorFields(error);
        // The same error again, as while an interface is missing, is worth a debug line only.
        const again = fields['error'] === reported;
        reported = String(fields['error']);
        options.log[again ? 'debug' : 'warn'](`${options.name}: listening failed`, { ...fields, attempts: backoff.attempts + 1 });
      }
    }
    if (isAborted(signal)) return;
    gap = true;
    await sleep(options.clock, backoff.fail(), signal);
  }
}

/** Ends early, without an error, when the signal aborts. */
export function sleep(clock: Clock, milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(milliseconds, done);
    signal.addEventListener('abort', done, { once: true });
  });
}

export interface LinkWatchOptions {
  readonly vipInterface: string;
  /** Interface that faces the segment. */
  readonly interface: string;
  /** Index of the VIP device as last read. */
  readonly vipIndex: () => number | undefined;
  /** VIPs that are to be on it. */
  readonly wants: (address: Address) => boolean;
  readonly doubt: (cause: string) => void;
  /** The facing interface came up again. */
  readonly onLinkUp: () => void;
  /** VIPs that are to be on another interface, too: where the kernel answers for them. Absent: none. */
  readonly answers?: {
    /** Index of the interface as last read. */
    readonly on: () => number | undefined;
    readonly for: (address: Address) => boolean;
  };
}

/** Judges rtnetlink events: our own changes agree with what is wanted, and mean nothing. */
export function linkJudge(options: LinkWatchOptions): (event: LinkEvent) => void {
  let facingUp: boolean | undefined;
  const onLink = (change: 'new' | 'deleted', name: string, up: boolean, running: boolean): void => {
    if (name === options.vipInterface && (change === 'deleted' || !up)) {
      options.doubt(`device ${name} was ${change === 'deleted' ? 'deleted' : 'set down'}`);
    }
    if (name !== options.interface) return;
    const now = change === 'new' && up && running;
    if (facingUp === false && now) options.onLinkUp();
    if (facingUp === undefined && change === 'new') options.doubt(`interface ${name} changed`);
    facingUp = now;
  };
  return (event) => {
    if (event.type === 'overrun') options.doubt('rtnetlink events were lost');
    else if (event.type === 'link') onLink(event.change, event.link.name, event.link.up, event.link.running);
    else if (event.type === 'address' && options.answers !== undefined && event.address.interfaceIndex === options.answers.on()) {
      const { address } = event.address;
      const answered = options.answers.for(address);
      if (event.change === 'deleted' && answered) options.doubt(`address ${address} was deleted from the announcing interface`);
      if (event.change === 'new' && !answered && options.wants(address))
        options.doubt(`address ${address} was added to the announcing interface`);
    } else if (event.type === 'address' && event.address.interfaceIndex === options.vipIndex()) {
      const { address, scope } = event.address;
      const wanted = options.wants(address);
      if (event.change === 'deleted' && wanted) options.doubt(`address ${address} was deleted`);
      if (event.change === 'new' && !wanted && scope !== 'link') options.doubt(`address ${address} was added`);
    }
  };
}

/** Our tables by NFPROTO_IPV4 and NFPROTO_IPV6, as events number families. */
const natTables: ReadonlyMap<number, TableId> = new Map([
  [2, NAT_TABLE],
  [10, NAT_TABLE_6],
]);

/** Judges nftables events: a transaction on a table of ours that this agent did not send is somebody else's. */
export function nftJudge(doubt: (cause: string) => void): (event: NftEvent) => void {
  let touched: TableId | undefined;
  return (event) => {
    if (event.type === 'overrun') {
      touched = undefined;
      doubt('nftables events were lost');
    } else if (event.message !== 'newgen') {
      const table = natTables.get(event.family);
      if (table !== undefined && event.table === table.name && event.own !== true) touched ??= table;
    } else if (touched !== undefined) {
      // The generation message ends the transaction: one alarm for all of its parts.
      const { family, name } = touched;
      touched = undefined;
      doubt(`table ${family} ${name} was changed by somebody else`);
    }
  };
}
