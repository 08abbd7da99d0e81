/**
 * The rules of a realserver in the nat table of legacy iptables, P being the prefix and h a hash:
 *
 *     PREROUTING      -j P                          and OUTPUT, for what begins on this machine
 *     P               -d 192.0.2.10/32 -p tcp --dport 80 -j P-MASQ          with a masquerade policy only
 *                     -d 192.0.2.10/32 -p tcp --dport 80 -j P-SVC-h(service)
 *     P-MASQ          ! -s 10.50.0.0/16 -j MARK --set-xmark 0x4000/0x4000
 *     P-SVC-h         --probability 1/n -j P-SEP-h(first pod), 1/(n-1) the second, …, the last without
 *     P-SEP-h         -s 10.50.1.2/32 -j MARK --set-xmark 0x4000/0x4000     a pod that reaches itself
 *                     -p tcp -j DNAT --to-destination 10.50.1.2:8080
 *     POSTROUTING     -j P-POSTROUTING
 *     P-POSTROUTING   --mark 0x4000/0x4000 -j MASQUERADE
 *
 * A virtual service with more shares than pods (IPVS on this machine serves the rest) is jumped to with the probability
 * pods/shares, and its P-SVC-h begins with `-j P-MASQ`: what is left to IPVS bears no mark. On such a machine rules for TCP
 * match segments that open a connection only (--tcp-flags FIN,SYN,RST,ACK SYN).
 *
 * The price of a connection grows with the number of virtual services, which is what nftables has maps for. Why
 * each chain is as it is: docs/iptables.md.
 */
import type { DesiredNat, DesiredNatService, MasqueradePolicy, NatServiceId } from '../desired/types.ts';
import { addressFamily, compareAddresses, parsePrefix } from '../model/address.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import type {
  IptablesChain,
  IptablesJump,
  IptablesListing,
  IptablesPrefix,
  IptablesProgram,
  IptablesRule,
} from '../native/iptables-types.ts';
import { iptablesRuleText } from './iptables-text.ts';
import { protocolName } from './nat-layout.ts';

/** The bit that kube-proxy uses for the same purpose (KUBE-MARK-MASQ). */
const MASQUERADE_MARK = { value: 0x4000, mask: 0x4000 } as const;

/** XT_EXTENSION_MAXNAMELEN less its NUL, and what `-SVC-` and a hash take of it. */
const LONGEST_PREFIX = 28 - 21;

export interface IptablesLayout {
  readonly family: 'ip' | 'ip6';
  /** Our chains are this one and those that begin with it and a hyphen. At most 7 characters. */
  readonly prefix: string;
  readonly masquerade: MasqueradePolicy;
  /** As in {@link DesiredNat}. Default false. */
  readonly openingOnly?: DesiredNat['openingOnly'];
  /** 16 characters that a chain's name may have, the same for the same text: `chainHash` of native/iptables-hash.ts. */
  readonly hash: (text: string) => string;
}

type Pod = DesiredNatService['pods'][number];

const host = (address: string, family: 'ip' | 'ip6'): IptablesPrefix => ({ address, length: family === 'ip' ? 32 : 128 });

/** IPPROTO_TCP. */
const TCP = 6;

const jumpTo = (chain: string): IptablesRule['target'] => ({ kind: 'jump', chain });

/** Outside the policy's prefix; undefined when the policy excepts every source there is. */
function markRule({ exceptSource }: MasqueradePolicy, family: 'ip' | 'ip6'): IptablesRule | undefined {
  const mark: IptablesRule = { target: { kind: 'setMark', ...MASQUERADE_MARK } };
  if (exceptSource === undefined) return mark;
  const network = parsePrefix(`${exceptSource.address}/${exceptSource.prefix}`);
  // A prefix of the other family says nothing about this one.
  if (network === undefined || network.address.includes(':') !== (family === 'ip6')) return mark;
  if (network.prefix === 0) return undefined;
  return { source: { address: network.address, length: network.prefix, inverted: true }, ...mark };
}

/** Some of its connections go on to IPVS on this machine. */
const isShared = ({ pods, slots }: DesiredNatService): boolean => slots !== undefined && slots > pods.length;

/** Its own chain marks what it takes, since not everything that is meant for it goes there. */
const marksItself = (service: DesiredNatService, { masquerade }: IptablesLayout): boolean => masquerade.enabled && isShared(service);

/** Chains of services and their pods, each once, whoever of the virtual services uses them. */
class ServiceChains {
  readonly #layout: IptablesLayout;
  readonly #chains = new Map<string, IptablesChain>();
  /** The pods behind a service's chain, as text. */
  readonly #pods = new Map<string, string>();

  constructor(layout: IptablesLayout) {
    this.#layout = layout;
  }

  get chains(): IterableIterator<IptablesChain> {
    return this.#chains.values();
  }

  /** Name of the chain that chooses among the service's pods. Virtual services of one service and protocol share it. */
  nameFor(service: DesiredNatService): string {
    const { prefix, hash } = this.#layout;
    const protocol = protocolName(service.protocol);
    const pods = `${marksItself(service, this.#layout) ? 'marked ' : ''}${service.pods.map(({ address, port }) => `${address} ${port}`).join()}`;
    let name = `${prefix}-SVC-${hash(service.comment + protocol)}`;
    // Two with the same name and different pods must not share: one of them would reach the other's.
    if ((this.#pods.get(name) ?? pods) !== pods) name = `${prefix}-SVC-${hash(`${service.comment}${protocol} ${service.key}`)}`;
    if (!this.#pods.has(name)) {
      this.#pods.set(name, pods);
      this.#add(name, service);
    }
    return name;
  }

  #add(name: string, service: DesiredNatService): void {
    const { pods } = service;
    const seen = new Set<string>();
    const endpoints = pods.map((pod) => {
      // Several containers of one host network: the same address with another port.
      const known = seen.has(pod.address);
      seen.add(pod.address);
      return this.#endpoint(service, pod, known ? `${pod.address}:${pod.port}` : pod.address);
    });
    const choices = endpoints.map((chain, index): IptablesRule => {
      const left = endpoints.length - index;
      return left === 1 ? { target: jumpTo(chain) } : { probability: 1 / left, target: jumpTo(chain) };
    });
    const mark: IptablesRule[] = marksItself(service, this.#layout) ? [{ target: jumpTo(`${this.#layout.prefix}-MASQ`) }] : [];
    this.#chains.set(name, { name, rules: [...mark, ...choices] });
  }

  #endpoint({ comment, protocol }: DesiredNatService, pod: Pod, identity: string): string {
    const { prefix, hash, family } = this.#layout;
    const end = protocolName(protocol);
    const hairpin: IptablesRule = { source: host(pod.address, family), target: { kind: 'setMark', ...MASQUERADE_MARK } };
    const translate: IptablesRule = { protocol, target: { kind: 'dnat', address: pod.address, port: pod.port } };
    const rules = [hairpin, translate];
    let name = `${prefix}-SEP-${hash(comment + identity + end)}`;
    const known = this.#chains.get(name);
    // Only where two virtual services of one name have pods of one address and different ports.
    if (known !== undefined && !sameRules(known.rules, rules)) name = `${prefix}-SEP-${hash(`${comment}${pod.address}:${pod.port}${end}`)}`;
    this.#chains.set(name, { name, rules });
    return name;
  }
}

function sameRules(a: readonly IptablesRule[], b: readonly IptablesRule[]): boolean {
  return a.length === b.length && a.every((rule, index) => iptablesRuleText(rule) === iptablesRuleText(b[index] as IptablesRule));
}

/** By address, then protocol, then port: the same order whatever the order of the configuration. */
function byVirtualService(a: NatServiceId, b: NatServiceId): number {
  return compareAddresses(a.address, b.address) || a.protocol - b.protocol || a.port - b.port;
}

/**
 * All that is ours in the table for these virtual services; those of the other family are left out. `masqueraded`: IPVS on
 * this machine translates them, and their clients are to appear as this machine. RangeError for a prefix that leaves no
 * room for a hash.
 */
export function iptablesProgram(
  services: Iterable<DesiredNatService>,
  layout: IptablesLayout,
  masqueraded: Iterable<NatServiceId> = [],
): IptablesProgram {
  const { prefix, family, masquerade, openingOnly = false } = layout;
  if (prefix.length > LONGEST_PREFIX) {
    throw new RangeError(`chain prefix ${prefix}: at most ${LONGEST_PREFIX} characters, a chain's name has 28`);
  }
  const ofFamily = ({ address }: NatServiceId): boolean => addressFamily(address) === (family === 'ip' ? 4 : 6);
  const wanted = [...services].filter((service) => ofFamily(service) && service.pods.length > 0);
  const left = [...masqueraded].filter(ofFamily).sort(byVirtualService);
  const chains = new ServiceChains(layout);
  const match = ({ address, protocol, port }: NatServiceId) => ({ destination: host(address, family), protocol, port });
  const base: IptablesRule[] = [];
  for (const service of wanted.sort(byVirtualService)) {
    const { comment, pods, slots = 0 } = service;
    const opening = openingOnly && service.protocol === TCP ? { opening: true } : {};
    const named = { ...match(service), ...opening, ...(comment === '' ? {} : { comment }) };
    const share = isShared(service) ? { probability: pods.length / slots } : {};
    if (masquerade.enabled && !isShared(service)) base.push({ ...named, target: jumpTo(`${prefix}-MASQ`) });
    base.push({ ...named, ...share, target: jumpTo(chains.nameFor(service)) });
  }
  for (const id of left) base.push({ ...match(id), target: { kind: 'setMark', ...MASQUERADE_MARK } });
  const mark = markRule(masquerade, family);
  const jumps: IptablesJump[] = [
    { from: 'PREROUTING', to: prefix },
    { from: 'OUTPUT', to: prefix },
  ];
  const skeleton: IptablesChain[] = [
    { name: prefix, rules: base },
    { name: `${prefix}-MASQ`, rules: mark === undefined ? [] : [mark] },
  ];
  // Where nothing is translated nothing needs masquerading: a node without pods touches POSTROUTING not at all.
  if (wanted.length > 0 || left.length > 0) {
    jumps.push({ from: 'POSTROUTING', to: `${prefix}-POSTROUTING` });
    skeleton.push({ name: `${prefix}-POSTROUTING`, rules: [{ mark: MASQUERADE_MARK, target: { kind: 'masquerade' } }] });
  }
  return { jumps, chains: [...skeleton, ...chains.chains] };
}

export interface IptablesDiff {
  /** Chains, in order of their names. */
  readonly chains: readonly { readonly name: string; readonly change: 'add' | 'change' | 'remove' }[];
  readonly jumps: readonly { readonly from: string; readonly to: string; readonly change: 'add' | 'remove' }[];
  /** Virtual services whose own rules, service chain or endpoint chains change, in order of their keys. */
  readonly services: readonly { readonly key: VirtualServiceKey; readonly change: 'add' | 'change' | 'remove' }[];
}

type Rules = ReadonlyMap<string, readonly string[]>;

/** Text of an observed rule; one outside the vocabulary equals nothing that is wanted. */
const observedText = ({ rule, foreign }: IptablesListing['chains'][number]['rules'][number]): string =>
  rule === undefined ? `foreign ${foreign ?? ''}` : iptablesRuleText(rule);

function differences(before: Rules, after: Rules): { name: string; change: 'add' | 'change' | 'remove' }[] {
  const found: { name: string; change: 'add' | 'change' | 'remove' }[] = [];
  for (const name of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    const [old, now] = [before.get(name), after.get(name)];
    if (old === undefined) found.push({ name, change: 'add' });
    else if (now === undefined) found.push({ name, change: 'remove' });
    else if (old.join('\n') !== now.join('\n')) found.push({ name, change: 'change' });
  }
  return found;
}

const jumpTarget = (rule: IptablesRule): string => (rule.target.kind === 'jump' ? rule.target.chain : '');

/** Per virtual service everything its connections pass, as text. */
function servicesOf(prefix: string, chains: ReadonlyMap<string, readonly IptablesRule[]>): Map<string, string[]> {
  const services = new Map<string, string[]>();
  for (const rule of chains.get(prefix) ?? []) {
    const { destination, protocol, port } = rule;
    if (destination === undefined || protocol === undefined || port === undefined || rule.target.kind !== 'jump') continue;
    const address = destination.address.includes(':') ? `[${destination.address}]` : destination.address;
    const key = `${protocolName(protocol)} ${address}:${port}`;
    let parts = services.get(key);
    if (parts === undefined) services.set(key, (parts = []));
    parts.push(iptablesRuleText(rule));
    for (const choice of chains.get(jumpTarget(rule)) ?? []) {
      parts.push(iptablesRuleText(choice), ...(chains.get(jumpTarget(choice)) ?? []).map(iptablesRuleText));
    }
  }
  return services;
}

function jumpDifferences(listing: IptablesListing, program: IptablesProgram): IptablesDiff['jumps'] {
  const missing = new Set(program.jumps.map(({ from, to }) => `${from} ${to}`));
  const jumps: { from: string; to: string; change: 'add' | 'remove' }[] = [];
  for (const { from, rule, foreign } of listing.jumps) {
    const to = rule === undefined ? (foreign ?? '') : jumpTarget(rule);
    const plain = rule !== undefined && iptablesRuleText(rule) === `-j ${to}`;
    // The first that is exactly a wanted one stays; a commit takes all others away.
    if (!plain || !missing.delete(`${from} ${to}`)) jumps.push({ from, to, change: 'remove' });
  }
  const added = program.jumps.filter(({ from, to }) => missing.has(`${from} ${to}`));
  return [...jumps, ...added.map(({ from, to }) => ({ from, to, change: 'add' as const }))];
}

/** What a commit of the program would change; empty lists when nothing. The table itself may be missing. */
export function diffIptables(listing: IptablesListing, program: IptablesProgram, prefix: string): IptablesDiff {
  const observed = new Map(listing.chains.map(({ name, rules }) => [name, rules.flatMap(({ rule }) => rule ?? [])]));
  const wanted = new Map(program.chains.map(({ name, rules }) => [name, rules]));
  const services = differences(servicesOf(prefix, observed), servicesOf(prefix, wanted));
  return {
    chains: differences(
      new Map(listing.chains.map(({ name, rules }) => [name, rules.map(observedText)])),
      new Map(program.chains.map(({ name, rules }) => [name, rules.map(iptablesRuleText)])),
    ),
    jumps: jumpDifferences(listing, program),
    services: services.map(({ name, change }) => ({ key: name, change })),
  };
}
