import type { RouteOptions } from '../../model/bgp.ts';
import type { Clock, Random } from '../../model/clock.ts';
import type { Address } from '../../model/cluster.ts';
import type { BgpDaemon } from './daemon.ts';

type Write = (message: string, fields?: Readonly<Record<string, unknown>>) => void;

/** What the speaker needs of a log. */
export interface SpeakerLog {
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
}

export interface SpeakerOptions {
  /** Where the daemon is, for people. */
  readonly endpoint: string;
  /** A client of the daemon; asked for one before each attempt to connect, the last one is closed by then. */
  readonly connect: () => BgpDaemon;
  readonly routes: RouteOptions;
  /** Content of a password file, whole. Rejects with an error that says why not. */
  readonly readPassword: (file: string) => Promise<Buffer>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: SpeakerLog;
  /** Everything is listed and compared this long after it last was, milliseconds. Default 60000. */
  readonly auditMilliseconds?: number;
  /** Neighbours are looked at this long after they last were, milliseconds. Default 10000. */
  readonly pollMilliseconds?: number;
  /** Longest wait of a withdrawal for the daemon, milliseconds. Default 2000. */
  readonly withdrawMilliseconds?: number;
  /** VIPs whose status is another than it was, all that changed at one moment together. */
  readonly onChanged?: (vips: readonly Address[]) => void;
}
