/** Tunnel devices and UDP ports on which a realserver takes packets, never without a way back. */
import {
  changesWith,
  changesWithout,
  planNoTunnels,
  planTunnels,
  portText,
  staleChanges,
  type ObservedTunnels,
  type TunnelChange,
  type TunnelOperation,
  type TunnelPlan,
  type TunnelRequirements,
} from '../diff/tunnels.ts';
import type { FouPort, LinksPort } from '../native/link-types.ts';
import type { SysctlJournal } from './journal.ts';
import { failureOf, nothingDone, type DriverFailure, type DriverOutcome } from './outcome.ts';

const subjectOf = (operation: TunnelOperation): string => ('name' in operation ? operation.name : portText(operation));

/** `UDP port 6080 (ipv4): take GUE packets`, for people. */
export function describeTunnel(operation: TunnelOperation): { vip: undefined; kind: 'device'; op: string; text: string } {
  const text = {
    addTunnel: 'add',
    setLink: `set ${'up' in operation && operation.up ? 'up' : 'down'}`,
    deleteLink: 'delete',
    addFou: 'take GUE packets',
    deleteFou: 'take no more GUE packets',
  }[operation.op];
  return { vip: undefined, kind: 'device', op: operation.op, text: `${subjectOf(operation)}: ${text}` };
}

export class TunnelDriver {
  readonly #links: Pick<LinksPort, 'links' | 'apply'>;
  readonly #fou: FouPort;
  readonly #journal: SysctlJournal;
  #observed: ObservedTunnels = { links: [], ports: undefined };
  /** On record, not needed, and no longer as we left it: others have taken it over. */
  #stale: readonly TunnelChange[] = [];

  constructor(links: Pick<LinksPort, 'links' | 'apply'>, fou: FouPort, journal: SysctlJournal) {
    this.#links = links;
    this.#fou = fou;
    this.#journal = journal;
  }

  /** Reads the kernel each time. Ports are looked at only when some are asked for or ours: their module may be missing. */
  async plan(requirements: TunnelRequirements): Promise<TunnelPlan & { readonly failures: readonly DriverFailure[] }> {
    const failures: DriverFailure[] = [];
    const changes = await this.#journal.loadTunnels().catch((error: unknown) => {
      failures.push(failureOf(error, 'tunnels.journal', this.#journal.path));
      return undefined;
    });
    // Without the record of what was changed nothing more is.
    if (changes === undefined) return { ...nothingPlanned, failures };
    if (requirements.devices.length === 0 && requirements.guePorts.length === 0 && changes.length === 0) return nothingPlanned;
    const asked = requirements.guePorts.length > 0 || changes.some(({ link }) => link === undefined);
    const ports = asked
      ? await this.#fou.list().catch((error: unknown) => void failures.push(failureOf(error, 'fou.list', 'UDP ports')))
      : undefined;
    this.#observed = { links: await this.#links.links(), ports: ports ?? undefined };
    // Without the list nothing is known about ports: they are left alone.
    const possible = asked && ports === undefined ? { ...requirements, guePorts: [] } : requirements;
    const plan = planTunnels(possible, this.#observed, changes);
    this.#stale = staleChanges(possible, this.#observed, changes);
    failures.push(...plan.conflicts.map(({ subject, message }) => ({ op: 'tunnels.plan', subject, code: 'EEXIST', message })));
    return { ...plan, failures };
  }

  /** All of ours put back, nothing else. */
  async cleanupOperations(): Promise<readonly TunnelOperation[]> {
    const changes = await this.#journal.loadTunnels();
    if (changes.length === 0) return [];
    const ports = changes.some(({ link }) => link === undefined) ? await this.#fou.list() : undefined;
    this.#observed = { links: await this.#links.links(), ports };
    return planNoTunnels(this.#observed, changes).operations;
  }

  /** Of the last {@link plan} or {@link cleanupOperations}. Journals first; a journal that cannot be written means that nothing is. */
  async apply(operations: readonly TunnelOperation[]): Promise<DriverOutcome> {
    if (operations.length === 0 && this.#stale.length === 0) return nothingDone;
    const failures: DriverFailure[] = [];
    const done: TunnelOperation[] = [];
    try {
      const changes = changesWith(await this.#remembered(), operations, this.#observed);
      await this.#journal.saveTunnels(changes);
      for (const operation of operations) {
        try {
          await this.#applyOne(operation);
          done.push(operation);
        } catch (error) {
          failures.push(failureOf(error, `tunnels.${operation.op}`, subjectOf(operation)));
        }
      }
      await this.#journal.saveTunnels(changesWithout(changes, done));
    } catch (error) {
      failures.push(failureOf(error, 'tunnels.journal', this.#journal.path));
    }
    return { written: done.length, failures };
  }

  async #remembered(): Promise<TunnelChange[]> {
    const stale = new Set(this.#stale.map((change) => JSON.stringify(change)));
    this.#stale = [];
    return (await this.#journal.loadTunnels()).filter((change) => !stale.has(JSON.stringify(change)));
  }

  async #applyOne(operation: TunnelOperation): Promise<void> {
    if ('port' in operation) {
      const { op, port, family } = operation;
      if (op === 'deleteFou') return this.#fou.delete({ port, family });
      return this.#fou.add({ port, family, encapsulation: 'gue', protocol: 0 });
    }
    const { failed } = await this.#links.apply([operation]);
    for (const { error } of failed) throw error;
  }

  /** After {@link cleanupOperations} were applied: forgets what others took over. */
  async dropJournal(): Promise<void> {
    await this.#journal.saveTunnels([]);
  }
}

const nothingPlanned = { operations: [], conflicts: [], failures: [] };
