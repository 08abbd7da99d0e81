/**
 * Translation rules in the nat tables of legacy iptables. A commit replaces a family's table as a whole, so every change
 * costs what the table costs; the loop makes one of all that came meanwhile. The kernel tells nothing of other
 * programs' changes: they are found by reading.
 */
import type { DesiredNat, DesiredNatService } from '../desired/types.ts';
import { diffIptables, iptablesProgram, type IptablesDiff } from '../diff/iptables.ts';
import { heldMarks, heldServices, listingOf } from '../diff/iptables-state.ts';
import { iptablesRuleText } from '../diff/iptables-text.ts';
import { addressFamily } from '../model/address.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import { UnsupportedError } from '../native/errors.ts';
import { chainHash } from '../native/iptables-hash.ts';
import type { IptablesFamily, IptablesListing, IptablesOutcome, IptablesProgram } from '../native/iptables-types.ts';
import type { LegacyTables } from './legacy-tables.ts';
import type { NatBackend, NatBackendPlan, NatChangeText } from './nat-backend.ts';
import { failureOf, type DriverFailure, type DriverOutcome } from './outcome.ts';

type Services = ReadonlyMap<VirtualServiceKey, DesiredNatService>;
type Changes = NatBackendPlan['services'];

const FAMILIES: readonly IptablesFamily[] = ['ip', 'ip6'];
const NUMBER = { ip: 4, ip6: 6 } as const;
const TOOL = { ip: 'iptables', ip6: 'ip6tables' } as const;

const nothing: IptablesProgram = { jumps: [], chains: [] };

/** What the kernel holds of one family. */
interface FamilyState {
  readonly listing: IptablesListing;
  readonly services: Map<VirtualServiceKey, DesiredNatService>;
  /** Left to IPVS with a mark. */
  readonly marks: ReadonlySet<VirtualServiceKey>;
}

function stateOf(listing: IptablesListing, prefix: string): FamilyState {
  const held = heldServices(listing, prefix);
  const services = new Map([...held].map(([key, { service }]) => [key, service]));
  return { listing, services, marks: heldMarks(listing, prefix) };
}

/** What is to become of one family's table. */
interface Part {
  readonly family: IptablesFamily;
  readonly before: IptablesListing;
  readonly program: IptablesProgram;
  readonly services: Services;
}

/** A plan of {@link IptablesNat}. */
class IptablesPlan implements NatBackendPlan {
  readonly services: Changes;
  readonly parts: readonly Part[];
  readonly failures: readonly DriverFailure[];
  readonly #prefix: string;

  constructor(prefix: string, services: Changes, parts: readonly Part[], failures: readonly DriverFailure[]) {
    this.services = services;
    this.parts = parts;
    this.failures = failures;
    this.#prefix = prefix;
  }

  get empty(): boolean {
    return this.parts.length === 0;
  }

  changes(): readonly NatChangeText[] {
    return this.parts.flatMap((part) => changeTexts(part, diffIptables(part.before, part.program, this.#prefix)));
  }
}

function changeTexts({ family, program }: Part, { chains, jumps, services }: IptablesDiff): NatChangeText[] {
  const rules = new Map(program.chains.map((chain) => [chain.name, chain.rules]));
  const text = (name: string): string => (rules.get(name) ?? []).map(iptablesRuleText).join('; ');
  return [
    ...services.map(({ key, change }) => ({
      ...{ vip: /^\w+ \[?([^\]]+?)\]?:\d+$/.exec(key)?.[1], op: `${change}Service` },
      text: `${TOOL[family]} ${key}`,
    })),
    ...chains.map(({ name, change }) => ({
      ...{ vip: undefined, op: `${change}Chain` },
      text: `${TOOL[family]} ${name}${change === 'remove' ? '' : `: ${text(name)}`}`,
    })),
    ...jumps.map(({ from, to, change }) => ({ vip: undefined, op: `${change}Jump`, text: `${TOOL[family]} ${from} -j ${to}` })),
  ];
}

/** The same connections to the same pods. */
function sameService(a: DesiredNatService, b: DesiredNatService): boolean {
  if (a === b) return true;
  const same = a.comment === b.comment && (a.slots ?? a.pods.length) === (b.slots ?? b.pods.length) && a.pods.length === b.pods.length;
  return same && a.pods.every(({ address, port }, index) => address === b.pods[index]?.address && port === b.pods[index].port);
}

function changeOf(held: DesiredNatService | undefined, wanted: DesiredNatService | undefined): Changes[number]['change'] | undefined {
  if (held === undefined) return wanted === undefined ? undefined : 'add';
  if (wanted === undefined) return 'remove';
  return sameService(held, wanted) ? undefined : 'change';
}

const sorted = (changes: Changes): Changes => [...changes].sort((a, b) => (a.key < b.key ? -1 : 1));

const isEmpty = ({ chains, jumps }: IptablesDiff): boolean => chains.length === 0 && jumps.length === 0;

const sizeOf = ({ added, rewritten, removed, jumps }: IptablesOutcome): number => added + rewritten + removed + jumps;

export interface IptablesNatOptions {
  readonly tables: LegacyTables;
  /** Our chains are this one and those that begin with it and a hyphen. At most 7 characters. */
  readonly chainPrefix: string;
}

export class IptablesNat implements NatBackend {
  readonly kind = 'iptables';
  readonly #tables: LegacyTables;
  readonly #prefix: string;
  readonly #states = new Map<IptablesFamily, FamilyState>();
  /** Why a family cannot be read. IPv4 goes on without IPv6. */
  readonly #unread = new Map<IptablesFamily, unknown>();
  /** Of the texts that name chains: computing them again would cost most of a program. */
  #hashes = new Map<string, string>();

  constructor({ tables, chainPrefix }: IptablesNatOptions) {
    this.#tables = tables;
    this.#prefix = chainPrefix;
  }

  /** Rejects with UnsupportedError, and what to do about it, where this machine cannot have such rules. */
  async probe(): Promise<void> {
    await this.#tables.table('ip', this.#prefix).list();
  }

  get known(): boolean {
    return FAMILIES.every((family) => this.#states.has(family) || this.#unread.has(family));
  }

  get size(): number {
    return [...this.#states.values()].reduce((sum, { services }) => sum + services.size, 0);
  }

  async connections(): Promise<ReadonlyMap<VirtualServiceKey, number>> {
    const connections = new Map<VirtualServiceKey, number>();
    for (const family of FAMILIES) {
      if (!(await this.#tables.present(family))) continue;
      const listing = await this.#tables.table(family, this.#prefix).list();
      for (const [key, held] of heldServices(listing, this.#prefix)) connections.set(key, held.connections);
    }
    return connections;
  }

  programmed(key: VirtualServiceKey): boolean {
    return this.heldAt(key) !== undefined;
  }

  forget(): void {
    this.#states.clear();
    this.#unread.clear();
  }

  /** Rejects when the table of IPv4 cannot be read; that of IPv6 is then a failure of each plan that needs it. */
  async observe(): Promise<void> {
    for (const family of FAMILIES) {
      if (this.#states.has(family) || this.#unread.has(family)) continue;
      try {
        this.#states.set(family, stateOf(await this.#read(family), this.#prefix));
      } catch (error) {
        if (family === 'ip') throw error;
        this.#unread.set(family, error);
      }
    }
  }

  async #read(family: IptablesFamily): Promise<IptablesListing> {
    if (!(await this.#tables.present(family))) return { present: false, jumps: [], chains: [] };
    return this.#tables.table(family, this.#prefix).list();
  }

  *held(): Iterable<DesiredNatService> {
    for (const { services } of this.#states.values()) yield* services.values();
  }

  heldAt(key: VirtualServiceKey): DesiredNatService | undefined {
    for (const { services } of this.#states.values()) {
      const service = services.get(key);
      if (service !== undefined) return service;
    }
    return undefined;
  }

  /** Clients on this machine reach pods of this machine only. */
  insideAt(): undefined {
    return undefined;
  }

  async plan(desired: DesiredNat, keys?: ReadonlySet<VirtualServiceKey>): Promise<NatBackendPlan> {
    await this.observe();
    const parts: Part[] = [];
    const failures: DriverFailure[] = [];
    const changes: Changes[number][] = [];
    const split = byFamily(desired.services);
    for (const family of FAMILIES) {
      const services = split[family];
      const state = this.#states.get(family);
      const wanted = services.size > 0 || desired.addresses.some((address) => ofFamily({ address }, family));
      if (state === undefined) {
        const cause = this.#unread.get(family);
        // What cannot be there does not have to go.
        if (wanted || !(cause instanceof UnsupportedError)) failures.push(this.#failure(cause, family, 'list'));
        continue;
      }
      const marked = (key: VirtualServiceKey): boolean => ofFamily(desired.masqueraded?.get(key), family);
      const program = (): IptablesProgram => (wanted ? this.#program(services, family, desired) : nothing);
      const part = keys === undefined ? planAll(state, program(), this.#prefix) : planKeys(state, services, keys, marked, program);
      changes.push(...part.changes);
      if (part.program !== undefined) parts.push({ family, before: state.listing, program: part.program, services });
    }
    if (keys === undefined) this.#dropHashes();
    return new IptablesPlan(this.#prefix, sorted(changes), parts, failures);
  }

  async removal(): Promise<NatBackendPlan> {
    return this.plan({ services: new Map(), addresses: [], masquerade: { enabled: false } });
  }

  /** Family by family; one that refuses keeps the other from nothing. Rejects when it was IPv4, else IPv6 is a failure of the outcome. */
  async apply(plan: NatBackendPlan): Promise<DriverOutcome> {
    if (!(plan instanceof IptablesPlan)) throw new TypeError('a plan of another backend');
    const failures = [...plan.failures];
    let written = 0;
    let refused: Error | undefined;
    for (const { family, program, services } of plan.parts) {
      try {
        written += sizeOf(await this.#tables.table(family, this.#prefix).commit(program));
        const listing = listingOf(program);
        this.#states.set(family, { listing, services: new Map(services), marks: heldMarks(listing, this.#prefix) });
      } catch (error) {
        this.#states.delete(family);
        if (family === 'ip') refused = error as Error;
        else failures.push(this.#failure(error, family, 'commit'));
      }
    }
    if (refused !== undefined) throw refused;
    return { written, failures };
  }

  #failure(error: unknown, family: IptablesFamily, op: string): DriverFailure {
    const failure = failureOf(error, `iptables.${op}`, `nat table of ${TOOL[family]}`);
    return { ...failure, message: `${TOOL[family]}: ${failure.message}`, family: NUMBER[family] };
  }

  #program(services: Services, family: IptablesFamily, { masquerade, masqueraded, openingOnly = false }: DesiredNat): IptablesProgram {
    const layout = { family, prefix: this.#prefix, masquerade, openingOnly, hash: (text: string) => this.#hash(text) };
    return iptablesProgram(services.values(), layout, masqueraded?.values());
  }

  #hash(text: string): string {
    let hash = this.#hashes.get(text);
    if (hash === undefined) this.#hashes.set(text, (hash = chainHash(text)));
    return hash;
  }

  /** Names of what is gone do not pile up. */
  #dropHashes(): void {
    const inUse = [...this.#states.values()].reduce((sum, { services }) => sum + services.size, 0);
    if (this.#hashes.size > 10_000 + 20 * inUse) this.#hashes = new Map();
  }
}

const ofFamily = (id: Pick<DesiredNatService, 'address'> | undefined, family: IptablesFamily): boolean =>
  id !== undefined && addressFamily(id.address) === NUMBER[family];

function byFamily(services: Services): Record<IptablesFamily, Map<VirtualServiceKey, DesiredNatService>> {
  const split = { ip: new Map<VirtualServiceKey, DesiredNatService>(), ip6: new Map<VirtualServiceKey, DesiredNatService>() };
  for (const [key, service] of services) if (service.pods.length > 0) split[ofFamily(service, 'ip') ? 'ip' : 'ip6'].set(key, service);
  return split;
}

interface PlannedPart {
  readonly changes: Changes;
  /** Undefined where nothing is to be written. */
  readonly program: IptablesProgram | undefined;
}

function planAll({ listing }: FamilyState, program: IptablesProgram, prefix: string): PlannedPart {
  const diff = diffIptables(listing, program, prefix);
  return { changes: diff.services, program: isEmpty(diff) ? undefined : program };
}

function planKeys(
  { services: held, marks }: FamilyState,
  services: Services,
  keys: ReadonlySet<VirtualServiceKey>,
  marked: (key: VirtualServiceKey) => boolean,
  program: () => IptablesProgram,
): PlannedPart {
  const changes = [...keys].flatMap((key) => {
    const change = changeOf(held.get(key), services.get(key));
    return change === undefined ? [] : [{ key, change }];
  });
  const remarked = [...keys].some((key) => marks.has(key) !== marked(key));
  return { changes, program: changes.length === 0 && !remarked ? undefined : program() };
}
