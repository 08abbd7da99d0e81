/**
 * The rules of a machine, in `table ip ravel`; `table ip6 ravel` is the same for IPv6.
 *
 *     chain prerouting   { type nat hook prerouting priority -101;
 *                          ip daddr . meta l4proto . th dport vmap @services
 *                          iifname "eth0" return
 *                          ip daddr . meta l4proto . th dport vmap @inside }
 *     chain output       { type nat hook output priority -101; vmap @services; vmap @inside }
 *     map services       { 192.0.2.10 . tcp . 80 counter : goto pods-tcp-2 }
 *     chain pods-tcp-2   { meta l4proto tcp
 *                          dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints }
 *     map endpoints      { 192.0.2.10 . tcp . 80 . 0 : 10.50.1.2 . 8080,
 *                          192.0.2.10 . tcp . 80 . 1 : 10.50.1.3 . 8080 }
 *     map inside         { 192.0.2.11 . tcp . 80 : goto inside-tcp-1 }, chain inside-tcp-1, map inside-endpoints: alike
 *     set hairpin        { 10.50.1.2 . 10.50.1.2, 10.50.1.3 . 10.50.1.3 }
 *     chain postrouting  { type nat hook postrouting priority 99; ip saddr . ip daddr @hairpin masquerade; … }
 *     chain segments     { type filter hook postrouting priority 101;
 *                          ip saddr @segments-1360 tcp flags syn tcp option maxseg size set 1360 }
 *
 * One lookup finds the virtual service whatever their number; there is one chain per protocol and number of
 * shares, not per service, so that an endpoint change is a handful of elements. A share without an endpoint is a
 * lookup that finds nothing, and a virtual service with such shares is jumped to, not gone to: what comes from outside then
 * leaves the nat hook as it came, what comes from inside is looked up once more. Why so: docs/adr/0003-nftables-layout.md.
 */
import type { DesiredNat, MasqueradePolicy } from '../desired/types.ts';
import { parsePrefix, type AddressFamily } from '../model/address.ts';
import type { Chain, ChainHook, KeyPart, SetSpec, Statement, TableId } from '../native/nftables-types.ts';

/** IPPROTO_TCP. */
const TCP = 6;

export const NAT_TABLE: TableId = { family: 'ip', name: 'ravel' };
export const NAT_TABLE_6: TableId = { family: 'ip6', name: 'ravel' };

/** A verdict map of virtual services, the map of their endpoints, and the chains between the two. */
export interface NatArea {
  readonly kind: 'local' | 'inside';
  readonly services: SetSpec;
  readonly endpoints: SetSpec;
  /** `pods` of `pods-tcp-2`. */
  readonly chainPrefix: string;
}

export interface NatLayout {
  readonly family: AddressFamily;
  readonly table: TableId;
  /** To pods of this machine: for everybody. */
  readonly local: NatArea;
  /** To pods anywhere: for clients on this machine. */
  readonly inside: NatArea;
  /** Pods that a virtual service may send to, each with itself: source and destination of a pod that calls its own VIP. */
  readonly hairpin: SetSpec;
  /** The VIPs. */
  readonly addresses: SetSpec;
  /** Virtual services that IPVS on this machine translates and whose clients appear as this machine. */
  readonly masqueraded: SetSpec;
}

function layout(family: AddressFamily, counter: boolean): NatLayout {
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const service = [address, 'inet_proto', 'inet_service'] as const;
  const endpoints = { key: [...service, 'slot'], value: [address, 'inet_service'] } as const;
  return {
    family,
    table: family === 4 ? NAT_TABLE : NAT_TABLE_6,
    local: {
      kind: 'local',
      services: { name: 'services', key: service, value: 'verdict', counter },
      endpoints: { name: 'endpoints', ...endpoints },
      chainPrefix: 'pods',
    },
    inside: {
      kind: 'inside',
      services: { name: 'inside', key: service, value: 'verdict' },
      endpoints: { name: 'inside-endpoints', ...endpoints },
      chainPrefix: 'inside',
    },
    hairpin: { name: 'hairpin', key: [address, address] },
    addresses: { name: 'addresses', key: [address] },
    masqueraded: { name: 'masqueraded', key: service },
  };
}

export const NAT_LAYOUTS: Readonly<Record<AddressFamily, NatLayout>> = { 4: layout(4, true), 6: layout(6, true) };
const UNCOUNTED: Readonly<Record<AddressFamily, NatLayout>> = { 4: layout(4, false), 6: layout(6, false) };

/** `counters`: each virtual service with pods here counts its connections. */
export function natLayout(family: AddressFamily, counters: boolean): NatLayout {
  return (counters ? NAT_LAYOUTS : UNCOUNTED)[family];
}

/** The sets that are always there, in the order in which elements are written. */
export function natSets({ local, inside, hairpin, addresses, masqueraded }: NatLayout): readonly SetSpec[] {
  return [local.services, local.endpoints, inside.services, inside.endpoints, hairpin, addresses, masqueraded];
}

/** One before dstnat (-100) and srcnat (100), where kube-proxy and network plugins sit. */
const PREROUTING: ChainHook = { type: 'nat', hook: 'prerouting', priority: -101 };
const OUTPUT: ChainHook = { type: 'nat', hook: 'output', priority: -101 };
const POSTROUTING: ChainHook = { type: 'nat', hook: 'postrouting', priority: 99 };
/** After srcnat: there a reply of a pod has become one of the VIP. */
const SEGMENTS: ChainHook = { type: 'filter', hook: 'postrouting', priority: 101 };

/** Hooks of the chains that have one. */
export const NAT_HOOKS: ReadonlyMap<string, ChainHook> = new Map([
  ['prerouting', PREROUTING],
  ['output', OUTPUT],
  ['postrouting', POSTROUTING],
  ['segments', SEGMENTS],
]);

export interface NatRule {
  readonly statements: readonly Statement[];
  readonly comment?: string;
}

export interface NatChain {
  readonly chain: Chain;
  readonly rules: readonly NatRule[];
}

const PROTOCOL_NAMES: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

/** `tcp` for 6; the number itself where the agent has no name for it. */
export function protocolName(protocol: number): string {
  return PROTOCOL_NAMES[protocol] ?? String(protocol);
}

/** The chain that draws one of `slots` shares for virtual services of one protocol. */
export function podsChainName({ chainPrefix }: NatArea, protocol: number, slots: number): string {
  return `${chainPrefix}-${protocolName(protocol)}-${slots}`;
}

/** Shares of a chain's name; 0 for a name that is not of this area. */
export function slotsOf({ chainPrefix }: NatArea, chain: string): number {
  const [prefix, , slots] = chain.split('-');
  return prefix === chainPrefix ? Number(slots ?? 0) : 0;
}

/** Whether the name is one that {@link podsChainName} gives. */
export const isPodsChain = (name: string): boolean => /^(?:pods|inside)-/.test(name);

const word = ({ family }: NatLayout): 'ip' | 'ip6' => (family === 4 ? 'ip' : 'ip6');

const serviceKey = (of: NatLayout): readonly KeyPart[] => [`${word(of)} daddr`, 'meta l4proto', 'th dport'];

/** An exception that covers no address of this family is none; one that covers all leaves nothing to masquerade. */
function policyRules(of: NatLayout, { enabled, exceptSource }: MasqueradePolicy, toVip: Statement): NatRule[] {
  if (!enabled) return [];
  const except: Statement[] = [];
  if (exceptSource !== undefined && exceptSource.address.includes(':') === (of.family === 6)) {
    if (exceptSource.prefix === 0) return [];
    // In the form in which nft shows a prefix: without host bits.
    const { prefix, address } = parsePrefix(`${exceptSource.address}/${exceptSource.prefix}`) ?? exceptSource;
    except.push({ kind: 'source', address, prefix, inverted: true });
  }
  return [{ statements: [{ kind: 'destinationTranslated' }, toVip, ...except, { kind: 'masquerade' }], comment: 'masquerade policy' }];
}

function postroutingRules(of: NatLayout, policy: MasqueradePolicy): NatRule[] {
  const [source, destination] = [`${word(of)} saddr`, `${word(of)} daddr`] as const;
  const original: KeyPart = `ct original ${destination}`;
  const toVip: Statement = { kind: 'inSet', key: [original], set: of.addresses.name };
  const masquerade: Statement = { kind: 'masquerade' };
  return [
    {
      statements: [{ kind: 'inSet', key: [source, destination], set: of.hairpin.name }, masquerade],
      comment: 'a pod that reached itself through a VIP',
    },
    {
      // Its source is the VIP: the kernel takes the destination for that, when it is an address of the machine itself.
      statements: [{ kind: 'destinationTranslated' }, { kind: 'inSet', key: [source], set: of.addresses.name }, toVip, masquerade],
      comment: 'a process of this machine that reached a pod through a VIP',
    },
    ...policyRules(of, policy, toVip),
    // One for each protocol, because the port of a connection has no meaning to nft before its protocol is known.
    ...Object.keys(PROTOCOL_NAMES).map((protocol): NatRule => ({
      statements: [
        { kind: 'protocol', protocol: Number(protocol) },
        { kind: 'inSet', key: [original, 'meta l4proto', 'ct original proto-dst'], set: of.masqueraded.name },
        masquerade,
      ],
      comment: 'a client of a virtual service that IPVS translates here',
    })),
  ];
}

/** What the chains that are always there follow from. */
export type NatFrame = Pick<DesiredNat, 'masquerade' | 'outside'>;

export function baseChains(of: NatLayout, { masquerade, outside = [] }: NatFrame): readonly NatChain[] {
  const find = ({ services }: NatArea): NatRule => ({ statements: [{ kind: 'vmap', key: serviceKey(of), map: services.name }] });
  const leave = (name: string): NatRule => ({
    statements: [
      { kind: 'inputInterface', name },
      { kind: 'verdict', verdict: { verdict: 'return' } },
    ],
  });
  return [
    {
      chain: { name: 'prerouting', hook: PREROUTING },
      rules: [find(of.local), ...[...new Set(outside)].sort().map(leave), find(of.inside)],
    },
    { chain: { name: 'output', hook: OUTPUT }, rules: [find(of.local), find(of.inside)] },
    { chain: { name: 'postrouting', hook: POSTROUTING }, rules: postroutingRules(of, masquerade) },
  ];
}

/** `openingOnly` as in {@link DesiredNat}; clients on this machine are seen in both directions, so it is not for `inside`. */
export function podsChain(of: NatLayout, area: NatArea, protocol: number, slots: number, openingOnly = false): NatChain {
  const choose: NatRule = {
    statements: [
      // The kernel translates ports only where the protocol is known to have them.
      { kind: 'protocol', protocol },
      ...(openingOnly && protocol === TCP && area.kind === 'local' ? [{ kind: 'tcpSyn' } as const] : []),
      { kind: 'dnatMap', key: [...serviceKey(of), { numgen: 'random', modulus: slots }], map: area.endpoints.name },
    ],
  };
  return { chain: { name: podsChainName(area, protocol, slots) }, rules: [choose] };
}

/** VIPs whose clients may send TCP segments of at most so many bytes. */
export function segmentsSet(of: NatLayout, bytes: number): SetSpec {
  return { name: `segments-${bytes}`, key: of.addresses.key };
}

/** The size in a set's name; undefined for other sets. */
export function segmentsOf(name: string): number | undefined {
  const match = /^segments-([1-9][0-9]{0,4})$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** SYN and SYN-ACK segments of a VIP tell the other side how much it may send; the kernel only ever lowers that. */
export function segmentsChain(of: NatLayout, sizes: readonly number[]): NatChain {
  return {
    chain: { name: 'segments', hook: SEGMENTS },
    rules: sizes.map((bytes) => ({
      statements: [
        { kind: 'inSet', key: [`${word(of)} saddr`], set: segmentsSet(of, bytes).name },
        { kind: 'protocol', protocol: TCP },
        { kind: 'tcpSyn' },
        { kind: 'maxSegment', bytes },
      ],
    })),
  };
}
