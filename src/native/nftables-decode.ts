/** What the addon lists (native/nftables_values_binding.cc) as the objects of nftables-types.ts. */
import { formatAddressBytes } from './address-bytes.ts';
import type {
  ChainHook,
  KeyPart,
  ListedChain,
  ListedRule,
  ListedSet,
  NftFamily,
  Statement,
  TableId,
  TableState,
  Verdict,
} from './nftables-types.ts';
import { DATA_TYPES, FAMILIES, HOOKS, KEY_PARTS, STATEMENTS, verdictOf } from './nftables-vocabulary.ts';

export interface NativeTable {
  readonly family: number;
  readonly name: string;
}

interface NativeChain {
  readonly name: string;
  readonly handle: bigint;
  readonly type?: string;
  readonly hook?: number;
  readonly priority?: number;
  readonly drops?: boolean;
}

interface NativeStatement {
  readonly kind: number;
  readonly key: readonly { readonly kind: number; readonly modulus: number }[];
  readonly set: string;
  readonly inverted: boolean;
  readonly protocol: number;
  readonly address: Uint8Array;
  readonly prefix: number;
  readonly mask: number;
  readonly value: number;
  readonly verdict: number;
  readonly chain: string;
  readonly interface: string;
  readonly segment: number;
}

interface NativeRule {
  readonly chain: string;
  readonly handle: bigint;
  readonly comment?: string;
  readonly statements?: readonly NativeStatement[];
}

interface NativeSet {
  readonly name: string;
  readonly handle: bigint;
  readonly known: boolean;
  readonly key: readonly number[];
  readonly valueKind: number;
  readonly value: readonly number[];
  readonly counter: boolean;
}

export interface NativeTableState {
  readonly dormant: boolean;
  readonly chains: readonly NativeChain[];
  readonly rules: readonly NativeRule[];
  readonly sets: readonly NativeSet[];
}

const FAMILY_NAMES = new Map(Object.entries(FAMILIES).map(([name, number]) => [number, name as NftFamily]));

export function decodeTables(tables: readonly NativeTable[]): TableId[] {
  return tables.flatMap(({ family, name }) => {
    const known = FAMILY_NAMES.get(family);
    return known === undefined ? [] : [{ family: known, name }];
  });
}

function decodeChain({ name, handle, type, hook, priority, drops }: NativeChain): ListedChain {
  const word = hook === undefined ? undefined : HOOKS[hook];
  // An inet chain may hook ingress; a chain is still a base chain then, which a hook of ours never equals.
  if (type === undefined || priority === undefined) return { name, handle };
  const at: ChainHook = { type: type as ChainHook['type'], hook: word ?? ('ingress' as ChainHook['hook']), priority };
  return { name, handle, hook: at, ...(drops === true ? { policy: 'drop' } : {}) };
}

function decodeStatement(native: NativeStatement): Statement | undefined {
  const kind = STATEMENTS[native.kind];
  const key = native.key.map((part): KeyPart => KEY_PARTS[part.kind] ?? { numgen: 'random', modulus: part.modulus });
  const inverted = native.inverted ? { inverted: true } : {};
  switch (kind) {
    case 'vmap':
    case 'dnatMap':
      return { kind, key, map: native.set };
    case 'inSet':
      return { kind, key, set: native.set, ...inverted };
    case 'protocol':
      return { kind, protocol: native.protocol };
    case 'source':
    case 'destination': {
      const address = formatAddressBytes(native.address, native.address.length === 4 ? 4 : 6);
      return { kind, address, prefix: native.prefix, ...inverted };
    }
    case 'markOr':
      return { kind, bits: native.mask };
    case 'markIs':
      return { kind, mask: native.mask, value: native.value };
    case 'inputInterface':
      return { kind, name: native.interface };
    case 'maxSegment':
      return { kind, bytes: native.segment };
    case 'masquerade':
    case 'counter':
    case 'destinationTranslated':
    case 'tcpSyn':
      return { kind };
    case 'verdict': {
      const verdict: Verdict | undefined = verdictOf(native.verdict, native.chain);
      return verdict === undefined ? undefined : { kind, verdict };
    }
    default:
      return undefined;
  }
}

function decodeRule({ chain, handle, comment, statements }: NativeRule): ListedRule {
  const decoded = statements?.map(decodeStatement);
  const known = decoded?.every((statement) => statement !== undefined) === true;
  return { chain, handle, comment, statements: known ? decoded : undefined };
}

function decodeSet(native: NativeSet): ListedSet {
  const types = (codes: readonly number[]) => codes.flatMap((code) => DATA_TYPES[code] ?? []);
  const { name, handle, known, counter } = native;
  // enum ValueKind.
  const value = native.valueKind === 2 ? { value: 'verdict' as const } : native.valueKind === 1 ? { value: types(native.value) } : {};
  return { name, key: types(native.key), ...value, counter, handle, known };
}

export function decodeTableState(native: NativeTableState): TableState {
  const { dormant, chains, rules, sets } = native;
  return { dormant, chains: chains.map(decodeChain), rules: rules.map(decodeRule), sets: sets.map(decodeSet) };
}
