/** What the flags and the configuration say about BGP, as one. Pure. */
import type { BgpConfig } from '../model/bgp.ts';

/** What flags can say of it. */
export type BgpFlags = Pick<BgpConfig, 'speaker' | 'peers'>;

/**
 * The configuration goes before the flags: its autonomous system, and its neighbour where both name the same address. Neighbours
 * are managed when either names any.
 */
export function withFlags({ speaker, peers }: BgpFlags, config: BgpConfig | undefined): BgpConfig {
  const chosen = config?.speaker ?? speaker;
  const configured = config?.peers ?? [];
  const others = (peers ?? []).filter(({ address }) => !configured.some((peer) => peer.address === address));
  const managed = config?.peers !== undefined || peers !== undefined;
  return {
    ...(chosen === undefined ? {} : { speaker: chosen }),
    ...(managed ? { peers: [...configured, ...others] } : {}),
    routes: config?.routes ?? new Map(),
  };
}
