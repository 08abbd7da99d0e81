/** Kernel settings: only what is needed, only on the interfaces in use, never without a way back. */
import type { SysctlRequirement } from '../desired/types.ts';
import { tunnelDevices } from '../diff/tunnels.ts';
import { didYouMean } from '../model/problems.ts';
import type { JournalEntry, SysctlJournal } from './journal.ts';
import { failureOf, nothingDone, type DriverFailure, type DriverOutcome } from './outcome.ts';
import { sysctlCommand, type SysctlPort } from './proc-sysctls.ts';

export interface SysctlOperation {
  readonly key: string;
  readonly from: string;
  readonly to: string;
  /** As of its requirement. */
  readonly optional?: boolean;
}

export interface SysctlPlan {
  readonly operations: readonly SysctlOperation[];
  readonly failures: readonly DriverFailure[];
}

export type { SysctlRequirement };

/** The kernel has no such setting. */
class MissingError extends Error {}

const conf = (interfaceName: string, name: string): string => `net/ipv4/conf/${interfaceName}/${name}`;

/** What takes effect on an interface: the larger of its own value and that of `all` (IN_DEV_MAXCONF). */
export function effective(own: string | undefined, all: string | undefined): string {
  return String(Math.max(Number(own ?? 0), Number(all ?? 0)));
}

/** Nobody gives these an address. */
const unnumbered: ReadonlySet<string> = new Set(Object.values(tunnelDevices));

/**
 * A realserver holds VIPs that another host answers for. `inbound` are the interfaces on which
 * packets to a VIP come in; the first ones also face the segment.
 */
export function realserverRequirements(facing: readonly string[], inbound: readonly string[]): SysctlRequirement[] {
  const loose = (name: string): SysctlRequirement => ({
    ...{ key: conf(name, 'rp_filter'), all: conf('all', 'rp_filter'), value: '2' },
    accepts: (value) => value !== '1',
    why: 'so that packets to a VIP are taken although the way back to the client may be another',
  });
  // Loose, too, takes nothing from outside on an interface without an address (fib_validate_source), as tunnels' are.
  const off = (name: string): SysctlRequirement => ({
    ...{ key: conf(name, 'rp_filter'), all: conf('all', 'rp_filter'), value: '0' },
    accepts: (value) => value === '0',
    why: 'so that packets to a VIP are taken from the tunnel: nothing leads back into it',
  });
  return [
    ...facing.flatMap((name): SysctlRequirement[] => [
      {
        ...{ key: conf(name, 'arp_ignore'), all: conf('all', 'arp_ignore'), value: '1' },
        // 1: only addresses of the interface asked; 2: and the same subnet; 8: none at all.
        accepts: (value) => ['1', '2', '8'].includes(value),
        why: 'so that this host never answers ARP for a VIP',
      },
      {
        ...{ key: conf(name, 'arp_announce'), all: conf('all', 'arp_announce'), value: '2' },
        accepts: (value) => value === '2',
        why: 'so that this host never sends ARP with a VIP as sender',
      },
    ]),
    ...inbound.map((name) => (unnumbered.has(name) ? off(name) : loose(name))),
  ];
}

/**
 * Settings of IPVS, which only directors write. A realserver that shares their journal leaves them alone, whether a director is
 * there or about to start: `cleanup` puts them back.
 */
export const ofDirectors = (key: string): boolean => key.startsWith('net/ipv4/vs/');

/** Whether the host answers on the segment, and for whom. A realserver and a director that is announced by routes want the same. */
export const ofSilence = (key: string): boolean => /^net\/ipv4\/conf\/[^/]+\/arp_(?:ignore|announce)$/.test(key);

export class SysctlDriver {
  readonly #port: SysctlPort;
  readonly #journal: SysctlJournal;
  #warnings: readonly string[] = [];

  constructor(port: SysctlPort, journal: SysctlJournal) {
    this.#port = port;
    this.#journal = journal;
  }

  /** Optional settings that could not be had, as of the last plan and what became of it. */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  /**
   * Settings to change, and ours that nothing asks for any more put back, as far as `mine` says that they are of the one
   * who asks: several agents of a machine share the journal.
   */
  async plan(requirements: readonly SysctlRequirement[], mine: (key: string) => boolean = () => true): Promise<SysctlPlan> {
    const operations: SysctlOperation[] = [];
    const failures: DriverFailure[] = [];
    const missing: SysctlRequirement[] = [];
    this.#warnings = requirements.flatMap(({ warning }) => warning ?? []);
    for (const requirement of requirements) {
      const { key, optional = false, mayBeMissing = optional } = requirement;
      try {
        const operation = await this.#planOne(requirement);
        if (operation !== undefined) operations.push(operation);
      } catch (error) {
        if (error instanceof MissingError && mayBeMissing) missing.push(requirement);
        else if (optional) this.#warn(error, key);
        else failures.push(failureOf(error, 'sysctl.plan', key));
      }
    }
    try {
      this.#warnings = [...this.#warnings, ...(await this.#missingWarnings(missing))];
    } catch (error) {
      failures.push(failureOf(error, 'sysctl.plan', 'settings that this kernel does not have'));
    }
    const wanted = new Set(requirements.map(({ key }) => key));
    try {
      operations.push(...(await this.#planRestore((key) => mine(key) && !wanted.has(key))));
    } catch (error) {
      failures.push(failureOf(error, 'sysctl.journal', this.#journal.path));
    }
    return { operations, failures };
  }

  /** One for each, or one for all where the whole folder is not there. */
  async #missingWarnings(requirements: readonly SysctlRequirement[]): Promise<string[]> {
    const byFolder = new Map<string, { name: string; chosen: boolean }[]>();
    for (const { key, optional } of requirements) {
      const folder = key.slice(0, key.lastIndexOf('/'));
      const name = key.slice(folder.length + 1);
      byFolder.set(folder, [...(byFolder.get(folder) ?? []), { name, chosen: optional !== true }]);
    }
    const warnings: string[] = [];
    for (const [folder, missing] of byFolder) {
      const known = await this.#port.names(folder);
      const names = missing.map(({ name }) => name).join(', ');
      // Only what a person has typed can be mistyped.
      const words = missing.map(
        ({ name, chosen }) => `${folder}/${name}: this kernel has no such setting${chosen ? didYouMean(name, known) : ''}`,
      );
      warnings.push(...(known.length === 0 ? [`${folder} has no settings here, so that these are not made: ${names}`] : words));
    }
    return warnings;
  }

  #warn(error: unknown, key: string): void {
    this.#warnings = [...this.#warnings, failureOf(error, 'sysctl.write', key).message];
  }

  async #planOne({ key, all, accepts, value, why, optional = false }: SysctlRequirement): Promise<SysctlOperation | undefined> {
    const own = await this.#port.read(key);
    if (own === undefined) throw new MissingError(`${key} does not exist: is the interface or the kernel module missing?`);
    const general = all === undefined ? undefined : await this.#port.read(all);
    const inEffect = all === undefined ? own : effective(own, general);
    if (accepts(inEffect)) return undefined;
    if (all !== undefined && !accepts(effective(value, general))) {
      throw new Error(`${all} is ${general ?? '?'}, which overrides ${key}; run: ${sysctlCommand(all, '0')} (${why})`);
    }
    return { key, from: own, to: value, ...(optional ? { optional } : {}) };
  }

  /** What puts journalled settings back; those that someone else changed since are left alone. */
  async #planRestore(which: (key: string) => boolean): Promise<SysctlOperation[]> {
    const operations: SysctlOperation[] = [];
    for (const [key, { before, after }] of await this.#journal.load()) {
      if (which(key) && before !== after && (await this.#port.read(key)) === after) operations.push({ key, from: after, to: before });
    }
    return operations;
  }

  /** All of ours put back, nothing else. */
  async cleanupOperations(): Promise<SysctlOperation[]> {
    return this.#planRestore(() => true);
  }

  /** Journals first, then writes; a journal that cannot be written means that nothing is. */
  async apply(operations: readonly SysctlOperation[]): Promise<DriverOutcome> {
    if (operations.length === 0) return nothingDone;
    const failures: DriverFailure[] = [];
    let written = 0;
    try {
      const entries = new Map<string, JournalEntry>(await this.#journal.load());
      const restored = this.#note(entries, operations);
      await this.#journal.save(entries);
      for (const { key, to, optional } of operations) {
        try {
          await this.#port.write(key, to);
          written += 1;
          if (restored.has(key)) entries.delete(key);
        } catch (error) {
          if (optional === true) this.#warn(error, key);
          else failures.push(failureOf(error, 'sysctl.write', key));
        }
      }
      if (restored.size > 0) await this.#journal.save(entries);
    } catch (error) {
      if (operations.every(({ optional }) => optional === true)) this.#warn(error, this.#journal.path);
      else failures.push(failureOf(error, 'sysctl.journal', this.#journal.path));
    }
    return { written, failures };
  }

  /** Enters what is about to change; returns the settings that get their old value back. */
  #note(entries: Map<string, JournalEntry>, operations: readonly SysctlOperation[]): Set<string> {
    const restored = new Set<string>();
    for (const { key, from, to } of operations) {
      const known = entries.get(key);
      if (known?.before === to && known.after === from) restored.add(key);
      // A value found when we already had changed the setting is not the old one.
      else entries.set(key, { before: known?.before ?? from, after: to });
    }
    return restored;
  }

  /** After {@link cleanupOperations} were applied: forgets what others took over. */
  async dropJournal(): Promise<void> {
    await this.#journal.save(new Map());
  }
}
