/** Kernel settings: only what is needed, only on the interfaces in use, never without a way back. */
import type { JournalEntry, SysctlJournal } from './journal.ts';
import { failureOf, nothingDone, type DriverFailure, type DriverOutcome } from './outcome.ts';
import { sysctlCommand, type SysctlPort } from './proc-sysctls.ts';

/** A setting that must have an effect. */
export interface SysctlRequirement {
  /** What we may write: `net/ipv4/conf/eth0/arp_ignore`. */
  readonly key: string;
  /** The kernel uses the larger of `key` and this one; never written by us. Absent: `key` counts alone. */
  readonly all?: string;
  /** Whether a value in effect will do. */
  readonly accepts: (effective: string) => boolean;
  /** What to write when it will not. */
  readonly value: string;
  /** Why, for people: `so that this host never answers ARP for a VIP`. */
  readonly why: string;
  /** It is done without where it cannot be had; {@link SysctlDriver.warnings} says so. Default false. */
  readonly optional?: boolean;
}

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

const conf = (interfaceName: string, name: string): string => `net/ipv4/conf/${interfaceName}/${name}`;

/** What takes effect on an interface: the larger of its own value and that of `all` (IN_DEV_MAXCONF). */
export function effective(own: string | undefined, all: string | undefined): string {
  return String(Math.max(Number(own ?? 0), Number(all ?? 0)));
}

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
    ...inbound.map(loose),
  ];
}

/** Default false in the kernel (Documentation/networking/ipvs-sysctl.rst): packets to a destination that is gone are dropped silently. */
const expireNodest: SysctlRequirement = {
  ...{ key: 'net/ipv4/vs/expire_nodest_conn', value: '1', optional: true },
  accepts: (current) => current === '1',
  why: 'so that a connection whose destination was removed ends at once instead of hanging',
};

/** What a director needs below net/ipv4/vs; `settings` are `name=value` pairs asked for by flag, which come first. */
export function ipvsRequirements(settings: ReadonlyMap<string, string>): SysctlRequirement[] {
  const asked = [...settings].map(([name, value]) => ({
    ...{ key: `net/ipv4/vs/${name}`, value, why: 'asked for by --ipvs-sysctl' },
    accepts: (current: string) => current.split(/\s+/).join(' ') === value.split(/\s+/).join(' '),
  }));
  return asked.some(({ key }) => key === expireNodest.key) ? asked : [...asked, expireNodest];
}

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

  /** Settings to change, and ours that nothing asks for any more put back. */
  async plan(requirements: readonly SysctlRequirement[]): Promise<SysctlPlan> {
    const operations: SysctlOperation[] = [];
    const failures: DriverFailure[] = [];
    this.#warnings = [];
    for (const requirement of requirements) {
      try {
        const operation = await this.#planOne(requirement);
        if (operation !== undefined) operations.push(operation);
      } catch (error) {
        if (requirement.optional === true) this.#warn(error, requirement.key);
        else failures.push(failureOf(error, 'sysctl.plan', requirement.key));
      }
    }
    const wanted = new Set(requirements.map(({ key }) => key));
    try {
      operations.push(...(await this.#planRestore((key) => !wanted.has(key))));
    } catch (error) {
      failures.push(failureOf(error, 'sysctl.journal', this.#journal.path));
    }
    return { operations, failures };
  }

  #warn(error: unknown, key: string): void {
    this.#warnings = [...this.#warnings, failureOf(error, 'sysctl.write', key).message];
  }

  async #planOne({ key, all, accepts, value, why, optional = false }: SysctlRequirement): Promise<SysctlOperation | undefined> {
    const own = await this.#port.read(key);
    if (own === undefined) throw new Error(`${key} does not exist: is the interface or the kernel module missing?`);
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
