/**
 * Connection synchronization of IPVS: two kernel threads, one that tells other directors of connections made here (master),
 * one that hears of theirs (backup). The kernel holds one of each per namespace and keeps no owner.
 */
import type { SyncDaemon } from '../native/ipvs-types.ts';

/** What is asked for: both roles, since every director forwards. */
export interface SyncRequirement {
  /** Interface of the segment that the directors share. */
  readonly interface: string;
  /** 1 to 255, the same on all directors of a group; messages of another number are not taken. */
  readonly syncId: number;
}

/** A daemon that the agent started, as far as it tells one from another. */
export type SyncDaemonMade = Pick<SyncDaemon, 'role' | 'interface' | 'syncId'>;

export type SyncOperation = { readonly op: 'startSyncDaemon' | 'stopSyncDaemon' } & SyncDaemonMade;

export interface SyncPlan {
  /** Ordered: a role is stopped before it starts anew. */
  readonly operations: readonly SyncOperation[];
  /** Roles that somebody else's daemon has. */
  readonly conflicts: readonly SyncDaemonMade[];
}

const roles = ['master', 'backup'] as const;

export const sameDaemon = (a: SyncDaemonMade, b: SyncDaemonMade): boolean =>
  a.role === b.role && a.interface === b.interface && a.syncId === b.syncId;

const made = ({ role, interface: device, syncId }: SyncDaemonMade): SyncDaemonMade => ({ role, interface: device, syncId });

/**
 * Ours are those with the number that is asked for, and those that `record` names. One that is as asked for is adopted: a
 * restart would lose what is on its way. `asked` undefined: none of ours is to run.
 */
export function planSync(asked: SyncRequirement | undefined, observed: readonly SyncDaemon[], record: readonly SyncDaemonMade[]): SyncPlan {
  const operations: SyncOperation[] = [];
  const conflicts: SyncDaemonMade[] = [];
  for (const role of roles) {
    const running = observed.find((daemon) => daemon.role === role);
    const wanted = asked && { role, interface: asked.interface, syncId: asked.syncId };
    if (running !== undefined) {
      if (wanted !== undefined && sameDaemon(running, wanted)) continue;
      const ours = running.syncId === asked?.syncId || record.some((one) => sameDaemon(one, running));
      if (!ours) {
        if (wanted !== undefined) conflicts.push(made(running));
        continue;
      }
      operations.push({ op: 'stopSyncDaemon', ...made(running) });
    }
    if (wanted !== undefined) operations.push({ op: 'startSyncDaemon', ...wanted });
  }
  return { operations, conflicts };
}
