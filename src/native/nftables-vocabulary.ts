/** The words of nftables-types.ts as the numbers that native/nftables_types.h and the kernel use. */
import type { ChainHook, DataType, KeyPart, NftFamily, NftOperation, Statement, Verdict } from './nftables-types.ts';

/** NFPROTO_* of linux/netfilter.h. */
export const FAMILIES: Readonly<Record<NftFamily, number>> = { ip: 2, ip6: 10, inet: 1 };

/** enum inet_hooks of linux/netfilter.h (nf_inet_hooks). */
export const HOOKS: readonly ChainHook['hook'][] = ['prerouting', 'input', 'forward', 'output', 'postrouting'];

/** In the order of enum DataType of native/nftables_types.h. */
export const DATA_TYPES: readonly DataType[] = ['ipv4_addr', 'ipv6_addr', 'inet_proto', 'inet_service', 'mark', 'slot'];

/** Bytes of a field in a column: its length, padded to the kernel's registers of 4 bytes. */
export function fieldWidth(type: DataType): number {
  return type === 'ipv6_addr' ? 16 : 4;
}

/** Bytes of a key or a value in a column. */
export function columnWidth(types: readonly DataType[]): number {
  return types.reduce((sum, type) => sum + fieldWidth(type), 0);
}

/** Numbers from packets are in network order, marks and slots in the host's: the addon builds on little-endian machines only. */
export const HOST_LITTLE_ENDIAN = true;

/** In the order of enum KeyPartKind; `numgen` last. */
export const KEY_PARTS: readonly Exclude<KeyPart, object>[] = [
  'ip saddr',
  'ip daddr',
  'ip6 saddr',
  'ip6 daddr',
  'meta l4proto',
  'th sport',
  'th dport',
  'ct original ip daddr',
  'ct original ip6 daddr',
  'ct original proto-dst',
];
export const NUMGEN_RANDOM = KEY_PARTS.length;

/** In the order of enum StatementKind. */
export const STATEMENTS: readonly Statement['kind'][] = [
  'vmap',
  'inSet',
  'protocol',
  'source',
  'destination',
  'dnatMap',
  'markOr',
  'markIs',
  'masquerade',
  'counter',
  'inputInterface',
  'destinationTranslated',
  'tcpSyn',
  'maxSegment',
  'verdict',
];

/** NF_DROP, NF_ACCEPT of linux/netfilter.h; NFT_* of linux/netfilter/nf_tables.h. */
export const VERDICTS: Readonly<Record<Verdict['verdict'], number>> = { drop: 0, accept: 1, jump: -3, goto: -4, return: -5 };

const VERDICT_NAMES = new Map(Object.entries(VERDICTS).map(([name, code]) => [code, name as Verdict['verdict']]));

/** The verdict of a code and, for goto and jump, its target; undefined for a code that we do not use. */
export function verdictOf(code: number, chain: string): Verdict | undefined {
  const verdict = VERDICT_NAMES.get(code);
  if (verdict === 'goto' || verdict === 'jump') return { verdict, chain };
  return verdict === undefined ? undefined : { verdict };
}

/** In the order of enum OperationCode of native/nftables_program.h. */
const OPERATIONS: readonly NftOperation['op'][] = [
  'addTable',
  'createTable',
  'deleteTable',
  'flushTable',
  'addChain',
  'createChain',
  'deleteChain',
  'flushChain',
  'addRule',
  'insertRule',
  'replaceRule',
  'deleteRule',
  'addSet',
  'createSet',
  'deleteSet',
  'flushSet',
  'addElements',
  'createElements',
  'deleteElements',
];

/** The same operations with columns in place of objects. */
const BATCH_OPERATIONS: Readonly<Partial<Record<NftOperation['op'], NftOperation['op']>>> = {
  addElementBatch: 'addElements',
  createElementBatch: 'createElements',
  deleteElementBatch: 'deleteElements',
};

/** -1 for a name that is no operation. */
export function operationCode(op: NftOperation['op']): number {
  return OPERATIONS.indexOf(BATCH_OPERATIONS[op] ?? op);
}

/** IPPROTO names that nft prints. */
export const PROTOCOL_NAMES: ReadonlyMap<number, string> = new Map([
  [1, 'icmp'],
  [6, 'tcp'],
  [17, 'udp'],
  [132, 'sctp'],
]);

/** IFNAMSIZ less the terminating NUL. */
export const INTERFACE_BYTES = 15;
/** NFT_NAME_MAXLEN less the terminating NUL. */
export const NAME_BYTES = 255;
/** Longest comment that nft writes and reads again. */
export const COMMENT_BYTES = 127;
/** {@link ElementColumns.chain} of a verdict without a target. */
export const NO_CHAIN = 65535;
