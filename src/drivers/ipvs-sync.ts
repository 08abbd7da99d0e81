/** Connection synchronization daemons: adopted where they are as asked for, stopped only where they are ours. */
import { planSync, sameDaemon, type SyncDaemonMade, type SyncOperation, type SyncRequirement } from '../diff/ipvs-sync.ts';
import { KernelError } from '../native/errors.ts';
import type { IpvsSyncPort, SyncDaemon } from '../native/ipvs-types.ts';
import type { SysctlJournal } from './journal.ts';
import { failureOf, nothingDone, type DriverFailure, type DriverOutcome } from './outcome.ts';

export type { SyncOperation, SyncRequirement };

/** Of a director that is told no number. */
export const defaultSyncId = 82;

/** What a full pass is to do, and what stands in the way. */
export interface PlannedSync {
  readonly operations: readonly SyncOperation[];
  readonly failures: readonly DriverFailure[];
}

const subjectOf = ({ role, interface: device, syncId }: SyncDaemonMade): string => `${role} of sync id ${syncId} on ${device}`;

/** `master of sync id 82 on eth0: start`, for people. */
export function describeSync(operation: SyncOperation): { vip: undefined; kind: 'ipvs'; op: string; text: string } {
  const verb = operation.op === 'startSyncDaemon' ? 'start' : 'stop';
  return { vip: undefined, kind: 'ipvs', op: operation.op, text: `connection synchronization, ${subjectOf(operation)}: ${verb}` };
}

export class IpvsSyncDriver {
  readonly #port: IpvsSyncPort;
  readonly #journal: SysctlJournal;
  #observed: readonly SyncDaemon[] = [];
  /** On record and no longer there. */
  #stale: readonly SyncDaemonMade[] = [];

  constructor(port: IpvsSyncPort, journal: SysctlJournal) {
    this.#port = port;
    this.#journal = journal;
  }

  /** Daemons that ran when last looked, whoever started them. */
  get running(): readonly SyncDaemon[] {
    return this.#observed;
  }

  /**
   * Reads the kernel each time, unless nothing is asked for and nothing is on record. `asked` undefined: ours are to stop. Rejects when the
   * kernel cannot be read.
   */
  async plan(asked: SyncRequirement | undefined): Promise<PlannedSync> {
    let record: readonly SyncDaemonMade[];
    try {
      record = await this.#journal.loadSync();
    } catch (error) {
      // Without the record nobody knows what is ours.
      return { operations: [], failures: asked === undefined ? [] : [failureOf(error, 'ipvs.journal', this.#journal.path)] };
    }
    this.#stale = [];
    if (asked === undefined && record.length === 0) return { operations: [], failures: [] };
    this.#observed = await this.#port.syncDaemons();
    const { operations, conflicts } = planSync(asked, this.#observed, record);
    this.#stale = record.filter((one) => !this.#observed.some((daemon) => sameDaemon(daemon, one)));
    return { operations, failures: conflicts.map(refused) };
  }

  /** All of ours stopped, nothing else. */
  async cleanupOperations(): Promise<readonly SyncOperation[]> {
    return (await this.plan(undefined)).operations;
  }

  /** Of the last {@link plan} or {@link cleanupOperations}. Journals first; a journal that cannot be written means that nothing is. */
  async apply(operations: readonly SyncOperation[]): Promise<DriverOutcome> {
    if (operations.length === 0 && this.#stale.length === 0) return nothingDone;
    const failures: DriverFailure[] = [];
    let written = 0;
    try {
      const starting = operations.filter(({ op }) => op === 'startSyncDaemon').map(made);
      const known = (await this.#journal.loadSync()).filter((one) => !this.#stale.some((stale) => sameDaemon(stale, one)));
      let record = [...known, ...starting.filter((one) => !known.some((other) => sameDaemon(other, one)))];
      await this.#journal.saveSync(record);
      this.#stale = [];
      for (const operation of operations) {
        try {
          await this.#applyOne(operation);
          written += 1;
          if (operation.op === 'stopSyncDaemon') record = record.filter((one) => !sameDaemon(one, operation));
        } catch (error) {
          failures.push(failureOf(error, `ipvs.${operation.op}`, subjectOf(operation)));
          if (operation.op === 'startSyncDaemon') record = record.filter((one) => !sameDaemon(one, operation));
        }
      }
      await this.#journal.saveSync(record);
    } catch (error) {
      failures.push(failureOf(error, 'ipvs.journal', this.#journal.path));
    }
    return { written, failures };
  }

  async #applyOne(operation: SyncOperation): Promise<void> {
    if (operation.op === 'startSyncDaemon') return this.#port.startSyncDaemon(made(operation));
    try {
      await this.#port.stopSyncDaemon(operation.role);
    } catch (error) {
      // Gone by itself, with its interface or by another's hand.
      if (!KernelError.is(error, 'ESRCH')) throw error;
    }
  }
}

const made = ({ role, interface: device, syncId }: SyncDaemonMade): SyncDaemonMade => ({ role, interface: device, syncId });

const refused = (daemon: SyncDaemonMade): DriverFailure => ({
  ...{ op: 'ipvs.startSyncDaemon', subject: subjectOf(daemon), code: 'EEXIST' },
  message:
    `connection synchronization: a ${subjectOf(daemon)} runs that is not ours, and a host has one ${daemon.role}; ` +
    `stop it (ipvsadm --stop-daemon ${daemon.role}), or give its number to --ipvs-sync`,
});
