/** What our chains say, read back as what was asked for: the beginning of a restart, which remembers nothing. */
import type { DesiredNatService } from '../desired/types.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import { virtualServiceKey } from '../model/keys.ts';
import type { IptablesListing, IptablesProgram, IptablesRule, ListedIptablesChain } from '../native/iptables-types.ts';

export interface HeldIptablesService {
  readonly service: DesiredNatService;
  /** Of the rule that leads to its pods: a nat table sees the first packet of each connection only. */
  readonly connections: number;
}

const PROTOCOLS: Readonly<Record<number, 'tcp' | 'udp' | 'sctp'>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

/** `-j chain`, whatever else the rule says. */
const chainOf = (rule: IptablesRule | undefined): string => (rule?.target.kind === 'jump' ? rule.target.chain : '');

type Chains = ReadonlyMap<string, ListedIptablesChain>;

function podOf(chain: ListedIptablesChain | undefined): DesiredNatService['pods'][number] | undefined {
  for (const { rule } of chain?.rules ?? []) {
    if (rule?.target.kind === 'dnat' && rule.target.port !== undefined) return { address: rule.target.address, port: rule.target.port };
  }
  return undefined;
}

/** The virtual service that a rule of the base chain leads to; undefined for a mark, and for what is damaged. */
function serviceAt(rule: IptablesRule, chains: Chains, prefix: string): DesiredNatService | undefined {
  const { destination, protocol = 0, port, comment = '', probability } = rule;
  const name = PROTOCOLS[protocol];
  const choice = chainOf(rule);
  if (destination === undefined || name === undefined || port === undefined || !choice.startsWith(`${prefix}-SVC-`)) return undefined;
  const pods = (chains.get(choice)?.rules ?? []).flatMap((entry) => podOf(chains.get(chainOf(entry.rule))) ?? []);
  if (pods.length === 0) return undefined;
  const key = virtualServiceKey(name, destination.address, port);
  // The kernel keeps 31 bits of a probability: enough to tell every number of shares there may be.
  const slots = probability === undefined ? {} : { slots: Math.round(pods.length / probability) };
  return { key, address: destination.address, protocol, port, comment, pods, ...slots };
}

/** Virtual services by key; whoever is wanted twice is held once, by the rule that comes first. */
export function heldServices({ chains }: IptablesListing, prefix: string): Map<VirtualServiceKey, HeldIptablesService> {
  const byName: Chains = new Map(chains.map((chain) => [chain.name, chain]));
  const held = new Map<VirtualServiceKey, HeldIptablesService>();
  for (const { rule, packets } of byName.get(prefix)?.rules ?? []) {
    const service = rule === undefined ? undefined : serviceAt(rule, byName, prefix);
    if (service !== undefined && !held.has(service.key)) held.set(service.key, { service, connections: Number(packets) });
  }
  return held;
}

/** Virtual services that are marked for masquerading and left to IPVS on this machine. */
export function heldMarks({ chains }: IptablesListing, prefix: string): Set<VirtualServiceKey> {
  const marks = new Set<VirtualServiceKey>();
  for (const { rule } of chains.find(({ name }) => name === prefix)?.rules ?? []) {
    const { destination, protocol = 0, port } = rule ?? {};
    const name = PROTOCOLS[protocol];
    if (rule?.target.kind !== 'setMark' || destination === undefined || name === undefined || port === undefined) continue;
    marks.add(virtualServiceKey(name, destination.address, port));
  }
  return marks;
}

/** What the table lists of ours once a program is in it. */
export function listingOf({ jumps, chains }: IptablesProgram): IptablesListing {
  const listed = (rule: IptablesRule) => ({ rule, foreign: undefined, packets: 0n, bytes: 0n });
  return {
    present: true,
    jumps: jumps.map(({ from, to }) => ({ from, ...listed({ target: { kind: 'jump', chain: to } }) })),
    chains: chains.map(({ name, rules }) => ({ name, rules: rules.map(listed) })),
  };
}
