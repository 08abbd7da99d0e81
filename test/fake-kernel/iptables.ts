/**
 * The nat tables of legacy iptables in memory. Rules of others are texts that nobody but a test looks into; a commit
 * treats what is ours as native/iptables_commit.cc does: same rules keep their counters, foreign ones their place.
 */
import type { LegacyTables, NatTablePort } from '../../src/drivers/legacy-tables.ts';
import { iptablesRuleText } from '../../src/diff/iptables-text.ts';
import { encodeIptables } from '../../src/native/iptables-program.ts';
import type {
  IptablesFamily,
  IptablesListing,
  IptablesOutcome,
  IptablesProgram,
  IptablesRule,
  ListedIptablesRule,
} from '../../src/native/iptables-types.ts';
import type { Faults } from './faults.ts';
import type { Journal } from './journal.ts';

const BUILTIN = ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'] as const;

export interface FakeIptablesRule {
  /** As iptables-save prints it, without the chain. */
  readonly text: string;
  /** Undefined for a rule of others. */
  readonly rule: IptablesRule | undefined;
  packets: number;
}

const foreignRule = (text: string): FakeIptablesRule => ({ text, rule: undefined, packets: 0 });
const ownRule = (rule: IptablesRule): FakeIptablesRule => ({ text: iptablesRuleText(rule), rule, packets: 0 });
const targetOf = ({ text }: FakeIptablesRule): string => /(?:^| )-[jg] (\S+)/.exec(text)?.[1] ?? '';
const isOurs = (name: string, prefix: string): boolean => name === prefix || name.startsWith(`${prefix}-`);

/** One table; {@link FakeLegacyTables} has one per family. */
export class FakeNatTable {
  readonly family: IptablesFamily;
  /** Chain by name; none while nobody has used the table. */
  chains = new Map<string, FakeIptablesRule[]>();

  constructor(family: IptablesFamily) {
    this.family = family;
  }

  get present(): boolean {
    return this.chains.size > 0;
  }

  /** Another program makes the table, or a chain in it, or appends rules. */
  append(chain: string, ...rules: readonly string[]): void {
    this.#make();
    this.chains.set(chain, [...(this.chains.get(chain) ?? []), ...rules.map(foreignRule)]);
  }

  /** The table as text, by chain. */
  dump(): Record<string, string[]> {
    return Object.fromEntries(
      [...this.chains].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, rules]) => [name, rules.map(({ text }) => text)]),
    );
  }

  list(prefix: string): IptablesListing {
    const listed = ({ rule, text, packets }: FakeIptablesRule): ListedIptablesRule => ({
      ...{ rule, foreign: rule === undefined ? text : undefined },
      ...{ packets: BigInt(packets), bytes: BigInt(packets * 60) },
    });
    const all = [...this.chains];
    return {
      present: this.present,
      chains: all.filter(([name]) => isOurs(name, prefix)).map(([name, rules]) => ({ name, rules: rules.map(listed) })),
      jumps: all
        .filter(([name]) => !isOurs(name, prefix))
        .flatMap(([from, rules]) => rules.filter((rule) => isOurs(targetOf(rule), prefix)).map((rule) => ({ from, ...listed(rule) }))),
    };
  }

  commit(prefix: string, program: IptablesProgram): Omit<IptablesOutcome, 'attempts' | 'lockWaitMs'> {
    const nothing = { changed: false, added: 0, rewritten: 0, removed: 0, jumps: 0 };
    if (!this.present && program.chains.length === 0 && program.jumps.length === 0) return nothing;
    this.#make();
    const before = this.dump();
    const old = this.chains;
    this.chains = new Map();
    for (const [name, rules] of old) {
      if (isOurs(name, prefix)) continue;
      const missing = program.jumps.filter(({ from }) => from === name).map(({ to }) => `-j ${to}`);
      const kept = rules.filter((rule) => {
        if (!isOurs(targetOf(rule), prefix)) return true;
        const at = missing.indexOf(rule.text);
        if (at >= 0) missing.splice(at, 1);
        return at >= 0;
      });
      const added = missing.map((text) => ownRule({ target: { kind: 'jump', chain: text.slice(3) } }));
      this.chains.set(name, [...kept, ...added]);
    }
    for (const { name, rules } of program.chains) {
      const known = new Map((old.get(name) ?? []).map((rule) => [rule.text, rule]));
      this.chains.set(
        name,
        rules.map((rule) => known.get(iptablesRuleText(rule)) ?? ownRule(rule)),
      );
    }
    const after = this.dump();
    if (JSON.stringify(after) === JSON.stringify(before)) return nothing;
    const ours = (dump: Record<string, string[]>): string[] => Object.keys(dump).filter((name) => isOurs(name, prefix));
    const [had, have] = [ours(before), ours(after)];
    return {
      changed: true,
      added: have.filter((name) => !had.includes(name)).length,
      rewritten: have.filter((name) => had.includes(name) && before[name]?.join() !== after[name]?.join()).length,
      removed: had.filter((name) => !have.includes(name)).length,
      jumps: BUILTIN.filter((name) => before[name]?.join() !== after[name]?.join()).length,
    };
  }

  #make(): void {
    for (const name of BUILTIN) if (!this.chains.has(name)) this.chains.set(name, []);
  }
}

export class FakeLegacyTables implements LegacyTables {
  readonly ip = new FakeNatTable('ip');
  readonly ip6 = new FakeNatTable('ip6');
  /** Families whose table somebody opened: the addon is loaded for them. */
  readonly opened = new Set<IptablesFamily>();
  readonly #faults: Faults;
  readonly #journal: Journal;

  constructor(faults: Faults, journal: Journal) {
    this.#faults = faults;
    this.#journal = journal;
  }

  async present(family: IptablesFamily): Promise<boolean> {
    await Promise.resolve();
    this.#faults.throwNext('iptables.present', family);
    return this[family].present;
  }

  table(family: IptablesFamily, chainPrefix: string): NatTablePort {
    const table = this[family];
    return {
      list: async () => {
        await Promise.resolve();
        this.#faults.throwNext('iptables.list', family);
        this.opened.add(family);
        this.#journal.read();
        return table.list(chainPrefix);
      },
      commit: async (program) => {
        encodeIptables(family, chainPrefix, program);
        await Promise.resolve();
        const error = this.#faults.next('iptables.commit', family);
        if (error !== undefined) {
          this.#journal.write('iptables.commit', family, error.message);
          throw error;
        }
        this.opened.add(family);
        const outcome = { ...table.commit(chainPrefix, program), attempts: 1, lockWaitMs: 0 };
        if (outcome.changed) this.#journal.write('iptables.commit', family);
        return outcome;
      },
    };
  }

  dump(): unknown {
    return { ip: this.ip.dump(), ip6: this.ip6.dump() };
  }
}
