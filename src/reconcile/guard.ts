import type { VirtualServiceKey } from '../model/cluster.ts';

export interface GuardOptions {
  /** Largest share of what is programmed that one pass may remove, 0..1. */
  readonly share: number;
  /** Removing up to this many is always allowed. */
  readonly count: number;
  /** The operator said yes: nothing is held. */
  readonly confirmed: boolean;
}

export const defaultGuard: GuardOptions = { share: 0.5, count: 10, confirmed: false };

export interface Held {
  /** Virtual services that stay as they are although nobody asks for them. */
  readonly keys: ReadonlySet<VirtualServiceKey>;
  readonly message: string;
}

/**
 * Holds a mass removal of virtual services, or of all that they balance over: a file cut short, or a source that lost its
 * memory, looks just like a wish to delete nearly everything. Additions and changes go on; only the removals wait.
 */
export function guardRemovals(removals: ReadonlySet<VirtualServiceKey>, programmed: number, options: GuardOptions): Held | undefined {
  if (options.confirmed || removals.size <= options.count || removals.size <= options.share * programmed) return undefined;
  return {
    keys: removals,
    message:
      `held: would remove ${removals.size} of ${programmed} virtual services, or their last backend: more than ${Math.round(options.share * 100)} %; ` +
      'confirm with --allow-mass-removal, or bring them back into the configuration',
  };
}
