/**
 * Packs changes into transactions of bounded size. A change is the smallest thing that may not be
 * split, because a commit in its middle would mislead packets; changes keep their order.
 */
import type { Element, NftOperation, SetSpec } from '../native/nftables-types.ts';
import type { NatChain } from './nat-layout.ts';
import { NAT_SETS, NAT_TABLE } from './nat-layout.ts';

/** A larger transaction would hold the kernel's nf_tables lock long enough to be felt by others. */
export const TRANSACTION_LIMIT = 1000;

export interface NatChange {
  /** First in its transaction: what elements will refer to. */
  readonly first: NftOperation[];
  readonly deleted: { readonly set: SetSpec; readonly element: Element }[];
  readonly created: { readonly set: SetSpec; readonly element: Element }[];
  /** Last in its transaction: what no element refers to any more. */
  readonly last: NftOperation[];
}

export function change(): NatChange {
  return { first: [], deleted: [], created: [], last: [] };
}

/** Operations a change counts for: an element is one. */
export function costOf(item: NatChange): number {
  return item.first.length + item.deleted.length + item.created.length + item.last.length;
}

/** One change that (re)writes a chain: all of its rules, in order. */
export function chainChange({ chain, rules }: NatChain, exists: boolean): NatChange {
  const item = change();
  item.first.push({ op: exists ? 'flushChain' : 'createChain', table: NAT_TABLE, chain });
  for (const rule of rules) item.first.push({ op: 'addRule', table: NAT_TABLE, rule: { chain: chain.name, ...rule } });
  return item;
}

function elementOperations(op: 'deleteElements' | 'createElements', items: readonly NatChange[]): NftOperation[] {
  const field = op === 'deleteElements' ? 'deleted' : 'created';
  const operations: NftOperation[] = [];
  for (const set of NAT_SETS) {
    const elements = items.flatMap((item) => item[field].filter((entry) => entry.set === set).map((entry) => entry.element));
    if (elements.length > 0) operations.push({ op, table: NAT_TABLE, set, elements });
  }
  return operations;
}

/** Atomic, so only validity orders it: what is referred to before what refers, deletion of an element before its successor. */
function transaction(items: readonly NatChange[]): NftOperation[] {
  return [
    ...items.flatMap((item) => item.first),
    ...elementOperations('deleteElements', items),
    ...elementOperations('createElements', items),
    ...items.flatMap((item) => item.last),
  ];
}

/** Transactions of at most `limit` operations, in the order of the changes; a single larger change stands alone. */
export function pack(changes: readonly NatChange[], limit: number): NftOperation[][] {
  const transactions: NftOperation[][] = [];
  let batch: NatChange[] = [];
  let size = 0;
  const close = (): void => {
    if (batch.length > 0) transactions.push(transaction(batch));
    batch = [];
    size = 0;
  };
  for (const item of changes) {
    const cost = costOf(item);
    if (cost === 0) continue;
    if (size + cost > limit) close();
    batch.push(item);
    size += cost;
  }
  close();
  return transactions;
}
