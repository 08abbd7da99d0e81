/** A director among several: its VIPs are routes in a BGP daemon, and routers deal the connections out. */
import { readFile, stat } from 'node:fs/promises';
import type { BgpDaemon } from '../announce/bgp/daemon.ts';
import { Speaker } from '../announce/bgp/speaker.ts';
import type { Speaking } from '../announce/bgp/speaking.ts';
import { withFlags } from '../desired/bgp-config.ts';
import type { DriverFailure } from '../drivers/outcome.ts';
import type { Clock } from '../model/clock.ts';
import type { Address } from '../model/cluster.ts';
import { PathAnnouncing } from '../reconcile/announcing-paths.ts';
import { sleep } from '../reconcile/drift.ts';
import { openDaemonLater } from './bgp-daemon.ts';
import type { Parts } from './composition.ts';
import type { Compose } from './coordination.ts';
import { directing, type Announce } from './director.ts';
import type { AgentOptions, BgpOptions } from './options.ts';

/** Longer than any password: TCP_MD5SIG_MAXKEYLEN is 80. */
const longestPasswordFile = 4096;

/** Longest wait for the daemon of an agent that programs once and ends, milliseconds. */
const settleMilliseconds = 10_000;
const lookMilliseconds = 20;

async function readPassword(file: string): Promise<Buffer> {
  // A FIFO or a disk as "file" would be read for ever.
  const { size } = await stat(file);
  if (size > longestPasswordFile) throw new Error(`${file} has ${size} bytes, which is no password`);
  return readFile(file);
}

export type SpeakerParts = Pick<Parts, 'clock' | 'random' | 'log' | 'openDaemon'>;

/** What brings routes to the daemon; `vipsChanged` hears of VIPs whose status is another than it was. */
export function speakerOf(
  bgp: BgpOptions,
  { clock, random, log, openDaemon = openDaemonLater }: SpeakerParts,
  more: { readonly auditMilliseconds?: number; readonly vipsChanged?: (vips: readonly Address[]) => void } = {},
): Speaking {
  const { endpoint, tls } = bgp;
  const { auditMilliseconds, vipsChanged } = more;
  return new Speaker({
    ...{ endpoint, routes: bgp, readPassword, clock, random, log },
    connect: (): BgpDaemon => openDaemon({ endpoint, clock, ...(tls === undefined ? {} : { tls }) }),
    ...(auditMilliseconds === undefined ? {} : { auditMilliseconds }),
    ...(vipsChanged === undefined ? {} : { onChanged: vipsChanged }),
  });
}

const byRoutes: Announce = (options, parts, { vipsChanged }) => {
  const bgp = bgpOf(options);
  const { clock, log } = parts;
  const speaking = speakerOf(bgp, parts, { auditMilliseconds: options.auditMilliseconds, vipsChanged });
  const drain = async (): Promise<void> => {
    log.info('sending clients elsewhere', { milliseconds: bgp.drainMilliseconds });
    await speaking.drain(bgp.drainMilliseconds);
  };
  return {
    announcing: new PathAnnouncing({ speaking, config: (state) => withFlags(bgp, state.bgp) }),
    listeners: [(signal) => speaking.run(signal)],
    // Routes lead here whatever the link does: who loses it loses its session.
    links: { onLinkUp: () => {} },
    shared: true,
    bgp: () => speaking.document(),
    ...(bgp.drainMilliseconds === 0 ? {} : { drain }),
    settle: () => settle(speaking, clock),
    stop: () => {},
  };
};

export const bgp: Compose = (options, parts) => directing(options, parts, byRoutes);

function bgpOf({ bgp }: AgentOptions): BgpOptions {
  if (bgp === undefined) throw new TypeError('mode bgp without its options');
  return bgp;
}

/** Connects, brings what is wanted to the daemon and nothing else, and ends. Returns what is not there by then. */
async function settle(speaking: Speaking, clock: Clock): Promise<DriverFailure[]> {
  const stop = new AbortController();
  const ended = speaking.run(stop.signal);
  const deadline = clock.now() + settleMilliseconds;
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition() && clock.now() < deadline) await sleep(clock, lookMilliseconds, stop.signal);
  };
  try {
    await until(() => speaking.document().state === 'connected');
    await speaking.withdrawOthers((address) => speaking.has(address));
    await until(() => unannounced(speaking).length === 0);
    const { state, error, endpoint } = speaking.document();
    if (state !== 'connected') return [failure(endpoint, 'BgpUnreachable', error ?? 'no answer')];
    return unannounced(speaking).map((address) => {
      const { code, message } = speaking.status(address)?.reason ?? { code: 'BgpUnreachable', message: 'no answer in time' };
      return failure(address, code, message);
    });
  } finally {
    stop.abort();
    await ended;
  }
}

const unannounced = (speaking: Speaking): Address[] =>
  [...speaking.addresses].filter((address) => speaking.status(address)?.announced !== true);

const failure = (subject: string, code: string, message: string): DriverFailure => ({ op: 'bgp.announce', subject, code, message });
