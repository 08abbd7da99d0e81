/**
 * The rules of a realserver, all in `table ip ravel`:
 *
 *     chain prerouting   { type nat hook prerouting priority -101;
 *                          ip daddr . meta l4proto . th dport vmap @services }
 *     map services       { 192.0.2.10 . tcp . 80 counter : goto pods-tcp-2 }
 *     chain pods-tcp-2   { meta l4proto tcp
 *                          dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints }
 *     map endpoints      { 192.0.2.10 . tcp . 80 . 0 : 10.50.1.2 . 8080,
 *                          192.0.2.10 . tcp . 80 . 1 : 10.50.1.3 . 8080 }
 *     set hairpin        { 10.50.1.2 . 10.50.1.2, 10.50.1.3 . 10.50.1.3 }
 *     chain postrouting  { type nat hook postrouting priority 99; ip saddr . ip daddr @hairpin masquerade }
 *
 * One lookup finds the virtual service whatever their number; there is one chain per protocol and
 * number of pods, not per service, so that an endpoint change is a handful of elements.
 * Why so: docs/adr/0003-nftables-layout.md.
 */
import type { MasqueradePolicy } from '../desired/types.ts';
import type { Chain, ChainHook, KeyPart, SetSpec, Statement, TableId } from '../native/nftables-types.ts';

export const NAT_TABLE: TableId = { family: 'ip', name: 'ravel' };

export const SERVICES: SetSpec = { name: 'services', key: ['ipv4_addr', 'inet_proto', 'inet_service'], value: 'verdict', counter: true };
export const ENDPOINTS: SetSpec = {
  name: 'endpoints',
  key: ['ipv4_addr', 'inet_proto', 'inet_service', 'slot'],
  value: ['ipv4_addr', 'inet_service'],
};
/** Pods that a virtual service may send to, each with itself: source and destination of a pod that calls its own VIP. */
export const HAIRPIN: SetSpec = { name: 'hairpin', key: ['ipv4_addr', 'ipv4_addr'] };
/** The VIPs; filled only with a masquerade policy. */
export const ADDRESSES: SetSpec = { name: 'addresses', key: ['ipv4_addr'] };

export const NAT_SETS: readonly SetSpec[] = [SERVICES, ENDPOINTS, HAIRPIN, ADDRESSES];

/** One before dstnat (-100) and srcnat (100), where kube-proxy and network plugins sit. */
const PREROUTING: ChainHook = { type: 'nat', hook: 'prerouting', priority: -101 };
const POSTROUTING: ChainHook = { type: 'nat', hook: 'postrouting', priority: 99 };

/** Marks a connection for masquerading; the bit that kube-proxy uses for the same purpose. */
const MASQUERADE_MARK = 0x4000;

const SERVICE_KEY: readonly KeyPart[] = ['ip daddr', 'meta l4proto', 'th dport'];

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

/** The chain that chooses among `count` pods of one protocol. */
export function podsChainName(protocol: number, count: number): string {
  return `pods-${protocolName(protocol)}-${count}`;
}

export function baseChains(policy: MasqueradePolicy): readonly NatChain[] {
  const hairpin: NatRule = {
    statements: [{ kind: 'inSet', key: ['ip saddr', 'ip daddr'], set: HAIRPIN.name }, { kind: 'masquerade' }],
    comment: 'a pod that reached itself through a VIP',
  };
  const marked: NatRule = {
    statements: [
      { kind: 'inSet', key: ['ct original ip daddr'], set: ADDRESSES.name },
      { kind: 'markIs', mask: MASQUERADE_MARK, value: MASQUERADE_MARK },
      { kind: 'masquerade' },
    ],
    comment: 'masquerade policy',
  };
  return [
    {
      chain: { name: 'prerouting', hook: PREROUTING },
      rules: [{ statements: [{ kind: 'vmap', key: SERVICE_KEY, map: SERVICES.name }] }],
    },
    { chain: { name: 'postrouting', hook: POSTROUTING }, rules: policy.enabled ? [hairpin, marked] : [hairpin] },
  ];
}

/** The network of `prefix` bits that holds the IPv4 address: the form in which nft shows a prefix. */
function network(address: string, prefix: number): string {
  const bits = address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const size = 2 ** (32 - prefix);
  const first = Math.floor(bits / size) * size;
  return [24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256).join('.');
}

function markRule({ exceptSource }: MasqueradePolicy): NatRule {
  const mark: Statement = { kind: 'markOr', bits: MASQUERADE_MARK };
  if (exceptSource === undefined) return { statements: [mark] };
  const { address, prefix } = exceptSource;
  return { statements: [{ kind: 'source', address: network(address, prefix), prefix, inverted: true }, mark] };
}

export function podsChain(protocol: number, count: number, policy: MasqueradePolicy): NatChain {
  const choose: NatRule = {
    statements: [
      // The kernel translates ports only where the protocol is known to have them.
      { kind: 'protocol', protocol },
      { kind: 'dnatMap', key: [...SERVICE_KEY, { numgen: 'random', modulus: count }], map: ENDPOINTS.name },
    ],
  };
  return { chain: { name: podsChainName(protocol, count) }, rules: policy.enabled ? [markRule(policy), choose] : [choose] };
}
