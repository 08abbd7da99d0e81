/** The rules of a realserver, once as operations and once as an nft script, and nft itself as the oracle. */
import { execFileSync, spawnSync } from 'node:child_process';
import type { Netns } from '../../src/native/netns.ts';
import type { Element, KeyPart, NftOperation, Rule, SetSpec, TableId } from '../../src/native/nftables-types.ts';

/** Runs of a property: fewer in the VM, where a fork costs 80 ms. */
export const runs = (count: number): number => (process.env['RAVEL_OUT'] === undefined ? count : Math.ceil(count / 10));

export const TABLE: TableId = { family: 'ip', name: 'ravel' };
export const SERVICES: SetSpec = { name: 'services', key: ['ipv4_addr', 'inet_proto', 'inet_service'], value: 'verdict', counter: true };
export const ENDPOINTS: SetSpec = {
  name: 'endpoints',
  key: ['ipv4_addr', 'inet_proto', 'inet_service', 'slot'],
  value: ['ipv4_addr', 'inet_service'],
};
export const HAIRPIN: SetSpec = { name: 'hairpin', key: ['ipv4_addr', 'ipv4_addr'] };
export const ADDRESSES: SetSpec = { name: 'addresses', key: ['ipv4_addr'] };

const SERVICE_KEY: readonly KeyPart[] = ['ip daddr', 'meta l4proto', 'th dport'];

/** IPPROTO numbers. */
export const TCP = 6;
export const UDP = 17;

/** Table, sets, base chains and their rules. */
export function skeleton(table: TableId = TABLE): NftOperation[] {
  const base = (name: string, hook: 'prerouting' | 'postrouting', priority: number): NftOperation => ({
    op: 'addChain',
    table,
    chain: { name, hook: { type: 'nat', hook, priority } },
  });
  return [
    { op: 'addTable', table },
    ...[SERVICES, ENDPOINTS, HAIRPIN, ADDRESSES].map((set): NftOperation => ({ op: 'addSet', table, set })),
    base('prerouting', 'prerouting', -101),
    base('postrouting', 'postrouting', 99),
    {
      op: 'addRule',
      table,
      rule: { chain: 'prerouting', statements: [{ kind: 'vmap', key: SERVICE_KEY, map: 'services' }] },
    },
    {
      op: 'addRule',
      table,
      rule: {
        chain: 'postrouting',
        statements: [{ kind: 'inSet', key: ['ip saddr', 'ip daddr'], set: 'hairpin' }, { kind: 'masquerade' }],
      },
    },
    {
      op: 'addRule',
      table,
      rule: {
        chain: 'postrouting',
        statements: [
          { kind: 'inSet', key: ['ct original ip daddr'], set: 'addresses' },
          { kind: 'markIs', mask: 0x4000, value: 0x4000 },
          { kind: 'masquerade' },
        ],
      },
    },
  ];
}

const protocolName = (protocol: number): string => (protocol === TCP ? 'tcp' : 'udp');

export const podsChain = (protocol: number, count: number): string => `pods-${protocolName(protocol)}-${count}`;

/** The chain that chooses among `count` pods; with `exceptSource`, marks what comes from elsewhere. */
export function podsOperations(protocol: number, count: number, exceptSource?: { address: string; prefix: number }): NftOperation[] {
  const chain = podsChain(protocol, count);
  const rule = (statements: Rule['statements']): NftOperation => ({
    op: 'addRule',
    table: TABLE,
    rule: { chain, statements },
  });
  return [
    { op: 'addChain', table: TABLE, chain: { name: chain } },
    ...(exceptSource === undefined
      ? []
      : [
          rule([
            { kind: 'source', ...exceptSource, inverted: true },
            { kind: 'markOr', bits: 0x4000 },
          ]),
        ]),
    rule([
      { kind: 'protocol', protocol },
      { kind: 'dnatMap', key: [...SERVICE_KEY, { numgen: 'random', modulus: count }], map: 'endpoints' },
    ]),
  ];
}

export interface Service {
  readonly address: string;
  readonly protocol: number;
  readonly port: number;
  readonly pods: readonly (readonly [address: string, port: number])[];
  readonly comment?: string;
}

export function serviceElement({ address, protocol, port, pods, comment }: Service): Element {
  const value = { verdict: 'goto', chain: podsChain(protocol, pods.length) } as const;
  return { key: [address, protocol, port], value, ...(comment !== undefined && { comment }) };
}

export function endpointElements({ address, protocol, port, pods }: Service): Element[] {
  return pods.map((pod, slot) => ({ key: [address, protocol, port, slot], value: [...pod] }));
}

export function serviceOperations(service: Service): NftOperation[] {
  return [
    { op: 'addElements', table: TABLE, set: SERVICES, elements: [serviceElement(service)] },
    { op: 'addElements', table: TABLE, set: ENDPOINTS, elements: endpointElements(service) },
  ];
}

/** What the operations of {@link reference} are in nft's own words, written by hand. */
export const REFERENCE_SCRIPT = `
add table ip ravel
add map ip ravel services { type ipv4_addr . inet_proto . inet_service : verdict; counter; }
add map ip ravel endpoints { typeof ip daddr . ip protocol . th dport . numgen random mod 2 : ip daddr . th dport; }
add set ip ravel hairpin { type ipv4_addr . ipv4_addr; }
add set ip ravel addresses { type ipv4_addr; }
add chain ip ravel prerouting { type nat hook prerouting priority -101; }
add chain ip ravel postrouting { type nat hook postrouting priority 99; }
add rule ip ravel prerouting ip daddr . meta l4proto . th dport vmap @services
add rule ip ravel postrouting ip saddr . ip daddr @hairpin masquerade
add rule ip ravel postrouting ct original ip daddr @addresses meta mark and 0x4000 == 0x4000 masquerade
add chain ip ravel pods-tcp-2
add rule ip ravel pods-tcp-2 ip saddr != 10.50.0.0/16 meta mark set meta mark or 0x4000
add rule ip ravel pods-tcp-2 meta l4proto tcp dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints
add chain ip ravel pods-udp-1
add rule ip ravel pods-udp-1 meta l4proto udp dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints
add element ip ravel services { 1.2.3.4 . tcp . 80 comment "shop/api:http" : goto pods-tcp-2, 1.2.3.4 . udp . 53 : goto pods-udp-1 }
add element ip ravel endpoints { 1.2.3.4 . tcp . 80 . 0 : 10.1.1.1 . 8080, 1.2.3.4 . tcp . 80 . 1 : 10.1.1.2 . 8080 }
add element ip ravel endpoints { 1.2.3.4 . udp . 53 . 0 : 10.1.1.1 . 5353 }
add element ip ravel hairpin { 10.1.1.1 . 10.1.1.1, 10.1.1.2 . 10.1.1.2 }
add element ip ravel addresses { 1.2.3.4 }
`;

export function reference(): NftOperation[] {
  const web: Service = {
    address: '1.2.3.4',
    protocol: TCP,
    port: 80,
    comment: 'shop/api:http',
    pods: [
      ['10.1.1.1', 8080],
      ['10.1.1.2', 8080],
    ],
  };
  const names: Service = { address: '1.2.3.4', protocol: UDP, port: 53, pods: [['10.1.1.1', 5353]] };
  return [
    ...skeleton(),
    ...podsOperations(TCP, 2, { address: '10.50.0.0', prefix: 16 }),
    ...podsOperations(UDP, 1),
    ...serviceOperations(web),
    ...serviceOperations(names),
    { op: 'addElements', table: TABLE, set: HAIRPIN, elements: ['10.1.1.1', '10.1.1.2'].map((pod) => ({ key: [pod, pod] })) },
    { op: 'addElements', table: TABLE, set: ADDRESSES, elements: [{ key: ['1.2.3.4'] }] },
  ];
}

/** A program inside a namespace; throws with its words when it fails. */
export function inside(netns: Netns, command: readonly string[], input = ''): string {
  const options = { encoding: 'utf8', input, maxBuffer: 1 << 28 } as const;
  return execFileSync('nsenter', [`--net=${netns.path}`, ...command], options);
}

export function nft(netns: Netns, ...args: readonly string[]): string {
  return inside(netns, ['nft', ...args]);
}

/** `nft -f -`; the words of the refusal, empty when there was none. */
export function nftScript(netns: Netns, script: string): string {
  const ended = spawnSync('nsenter', [`--net=${netns.path}`, 'nft', '-f', '-'], { input: script, encoding: 'utf8' });
  if (ended.error !== undefined) throw ended.error;
  return ended.status === 0 ? '' : ended.stderr || `status ${String(ended.status)}`;
}

function withoutHandles(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutHandles);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).flatMap(([name, part]) => (name === 'handle' ? [] : [[name, withoutHandles(part)]])));
}

/** `nft -j list ruleset` without what differs between two equal rulesets: versions and handles. */
export function listing(netns: Netns): unknown[] {
  const parsed = JSON.parse(nft(netns, '-j', 'list', 'ruleset')) as { nftables: Record<string, unknown>[] };
  return withoutHandles(parsed.nftables.filter((object) => !('metainfo' in object))) as unknown[];
}

/** The instructions as the kernel holds them, rule by rule; elements in a fixed order. */
export function instructions(netns: Netns): string[] {
  const lines = nft(netns, '--debug=netlink', 'list', 'ruleset').split('\n');
  const end = lines.findIndex((line) => line.startsWith('table '));
  const groups: string[][] = [];
  for (const line of lines.slice(0, end < 0 ? undefined : end)) {
    if (line.trim() === '') continue;
    // `ip ravel prerouting 10 9`: family, table, chain, then handles.
    if (/^\S/.test(line)) groups.push([line.replace(/( \d+)+ ?$/, '')]);
    else groups.at(-1)?.push(line.trim());
  }
  return groups.map(([title, ...rest]) => [title, ...(title?.includes('@') === true ? rest.sort() : rest)].join('\n')).sort();
}
