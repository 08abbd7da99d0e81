/**
 * Packs changes into transactions of bounded size. A change is the smallest thing that may not be
 * split, because a commit in its middle would mislead packets; changes keep their order.
 */
import type { Element, FieldValue, NftOperation, SetSpec, TableId } from '../native/nftables-types.ts';
import { natSets, type NatChain, type NatLayout } from './nat-layout.ts';

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

/** An element that comes, goes, or comes in the place of another with the same key. */
export function replacement(set: SetSpec, created: Element | undefined, deleted: readonly FieldValue[] | undefined): NatChange {
  const item = change();
  if (deleted !== undefined) item.deleted.push({ set, element: { key: deleted } });
  if (created !== undefined) item.created.push({ set, element: created });
  return item;
}

/** All of them in one transaction. */
export function merged(parts: readonly NatChange[]): NatChange {
  const whole = change();
  for (const part of parts) {
    whole.first.push(...part.first);
    whole.deleted.push(...part.deleted);
    whole.created.push(...part.created);
    whole.last.push(...part.last);
  }
  return whole;
}

/** One change that (re)writes a chain: all of its rules, in order. */
export function chainChange(table: TableId, { chain, rules }: NatChain, exists: boolean): NatChange {
  const item = change();
  item.first.push({ op: exists ? 'flushChain' : 'createChain', table, chain });
  for (const rule of rules) item.first.push({ op: 'addRule', table, rule: { chain: chain.name, ...rule } });
  return item;
}

/** One operation per set: those that are always there in their order, then the others as they come. */
function elementOperations(op: 'deleteElements' | 'createElements', of: NatLayout, items: readonly NatChange[]): NftOperation[] {
  const field = op === 'deleteElements' ? 'deleted' : 'created';
  const bySet = new Map(natSets(of).map((set) => [set.name, { set, elements: [] as Element[] }]));
  for (const item of items) {
    for (const { set, element } of item[field]) {
      const group = bySet.get(set.name);
      if (group === undefined) bySet.set(set.name, { set, elements: [element] });
      else group.elements.push(element);
    }
  }
  return [...bySet.values()].flatMap((group) => (group.elements.length === 0 ? [] : [{ op, table: of.table, ...group }]));
}

/** Atomic, so only validity orders it: what is referred to before what refers, deletion of an element before its successor. */
function transaction(of: NatLayout, items: readonly NatChange[]): NftOperation[] {
  return [
    ...items.flatMap((item) => item.first),
    ...elementOperations('deleteElements', of, items),
    ...elementOperations('createElements', of, items),
    ...items.flatMap((item) => item.last),
  ];
}

/** Transactions of at most `limit` operations, in the order of the changes; a single larger change stands alone. */
export function pack(of: NatLayout, changes: readonly NatChange[], limit: number): NftOperation[][] {
  const transactions: NftOperation[][] = [];
  let batch: NatChange[] = [];
  let size = 0;
  const close = (): void => {
    if (batch.length > 0) transactions.push(transaction(of, batch));
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
