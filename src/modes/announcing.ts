/** Speaking and listening on the segment, for both families. */
import { SegmentAnnouncer } from '../announce/announcer.ts';
import { ArpAnnouncer } from '../announce/arp.ts';
import { TokenBucket } from '../announce/bucket.ts';
import { advertisementJudge, conflictJudge } from '../announce/conflicts.ts';
import { NdpAnnouncer } from '../announce/ndp.ts';
import type { Address } from '../model/cluster.ts';
import { errorFields } from '../observe/log.ts';
import { keepListening } from '../reconcile/drift.ts';
import type { Listener, Parts } from './composition.ts';
import type { AgentOptions } from './options.ts';

export interface Segment {
  readonly announcer: SegmentAnnouncer;
  /** Who else claims our VIPs. */
  readonly listeners: readonly Listener[];
}

export function segment(
  options: AgentOptions,
  { kernel, clock, random, log }: Parts,
  hooks: { readonly isOwnMac: (mac: string) => boolean; readonly vipsChanged: (vips: readonly Address[]) => void },
): Segment {
  const common = {
    ...{ interface: options.interface, clock, random },
    ...{ refreshMilliseconds: options.arpRefreshMilliseconds, framesPerSecond: options.arpFramesPerSecond },
    // One for both families: the limit is the interface's.
    bucket: new TokenBucket(clock, options.arpFramesPerSecond, options.arpFramesPerSecond),
    onAnnounced: (vips: readonly Address[]) => {
      log.info('announced', { vips: vips.length, first: vips[0], interface: options.interface });
      hooks.vipsChanged(vips);
    },
    onFailure: (error: unknown, vips: readonly Address[]) => {
      log.warn('announcing failed', { ...errorFields(error), vips: vips.length });
      hooks.vipsChanged(vips);
    },
  };
  const announcer = new SegmentAnnouncer(
    new ArpAnnouncer({ ...common, port: kernel.arp }),
    new NdpAnnouncer({ ...common, port: kernel.ndp }),
  );
  const judging = (words: string): Parameters<typeof conflictJudge>[0] => ({
    holds: (address) => announcer.has(address),
    isOwnMac: hooks.isOwnMac,
    onConflict: (vip, mac) => {
      announcer.conflict(vip, mac);
      hooks.vipsChanged([vip]);
    },
    onOverrun: () => log.warn(`${words} packets were lost; a conflict may have been missed`, { interface: options.interface }),
  });
  const listener =
    <Event>(words: string, open: (signal: AbortSignal) => AsyncIterable<Event>, onEvent: (event: Event) => void): Listener =>
    (signal) =>
      keepListening(
        {
          ...{ name: `${words} on the segment`, open: () => open(signal), onEvent, clock, random, log },
          onGap: () => log.debug(`listening for ${words} again`, { interface: options.interface }),
        },
        signal,
      );
  return {
    announcer,
    listeners: [
      listener('ARP', (signal) => kernel.arp.watch(options.interface, { signal }), conflictJudge(judging('ARP'))),
      listener(
        'neighbour discovery',
        (signal) => kernel.ndp.watch(options.interface, { signal }),
        advertisementJudge(judging('neighbour discovery')),
      ),
    ],
  };
}
