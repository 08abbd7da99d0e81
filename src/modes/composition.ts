import type { OpenDaemon } from '../announce/bgp/daemon.ts';
import type { SpeakerDocument } from '../announce/bgp/speaking.ts';
import type { SysctlJournal } from '../drivers/journal.ts';
import type { CoordinatorPort } from '../drivers/coordinator.ts';
import type { Kernel } from '../drivers/kernel.ts';
import type { AddressDriver } from '../drivers/addresses.ts';
import type { DriverFailure } from '../drivers/outcome.ts';
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import type { Clock, Random } from '../model/clock.ts';
import type { Log } from '../observe/log.ts';
import { keepListening, linkJudge, type LinkWatchOptions } from '../reconcile/drift.ts';
import type { Plane } from '../reconcile/plane.ts';
import type { AgentOptions } from './options.ts';

/** What a mode is put together from. */
export interface Parts {
  readonly kernel: Kernel;
  readonly journal: SysctlJournal;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Default: TCP on 127.0.0.1. */
  readonly coordinator?: CoordinatorPort;
  /** Default: GoBGP, by gRPC. */
  readonly openDaemon?: OpenDaemon;
}

/** Runs until the signal aborts. */
export type Listener = (signal: AbortSignal) => Promise<void>;

export interface ListenerHooks {
  /** Asks the loop to read the kernel again. */
  readonly doubt: (cause: string) => void;
  /** Something was learnt about VIPs between two passes. */
  readonly vipsChanged: (addresses: readonly Address[]) => void;
  /** Asks the loop to look at everything now, for a reason that is nobody's fault. */
  readonly renew: () => void;
}

export interface Composition {
  readonly plane: Plane;
  /** What to listen to while the agent runs. */
  readonly listeners: (hooks: ListenerHooks) => readonly Listener[];
  /** Whether a director may wait to hear that these were programmed. */
  readonly serves: (keys: Iterable<VirtualServiceKey>) => boolean;
  /** A director has rules that translate on this machine, now. Absent: as colocation says. */
  readonly translates?: () => boolean;
  /** It leaves its work to somebody else for the time being. Absent: never. */
  readonly idle?: () => boolean;
  /** Between the agent and its BGP daemon. Absent: there is none. */
  readonly bgp?: () => SpeakerDocument;
  /**
   * Before a planned stop: sends those who come by other ways, and resolves when they have gone or the time is up. Listeners
   * and the loop go on meanwhile. Absent: there is nothing to be done.
   */
  readonly drain?: () => Promise<void>;
  /** Without listeners: waits, within bounds, until what was announced is out, and says what is not. Absent: it is at once. */
  readonly settle?: () => Promise<readonly DriverFailure[]>;
  /** Ends what the mode does by itself between passes. */
  readonly stop: () => void;
}

export type LinkHooks = Pick<LinkWatchOptions, 'wants' | 'doubt' | 'onLinkUp' | 'answers'>;

/** Devices and addresses, for every mode. */
export function linkListener(
  { kernel, clock, random, log }: Parts,
  options: AgentOptions,
  addresses: AddressDriver,
  hooks: LinkHooks,
): Listener {
  const onEvent = linkJudge({
    ...{ vipInterface: options.vipInterface, interface: options.interface, vipIndex: () => addresses.deviceIndex },
    ...hooks,
  });
  return (signal) =>
    keepListening(
      {
        name: 'rtnetlink events',
        open: () => kernel.links.watch(['link', 'address'], { signal }),
        onEvent,
        onGap: () => hooks.doubt('rtnetlink events were interrupted'),
        ...{ clock, random, log },
      },
      signal,
    );
}

/** Resolves when it is. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
