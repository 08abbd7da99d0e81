/** Changes of the plain sets: what is missing comes before the services, what is too much goes after them. */
import type { DesiredNat, NatServiceId } from '../desired/types.ts';
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import type { FieldValue, SetSpec } from '../native/nftables-types.ts';
import { segmentsOf, segmentsSet } from './nat-layout.ts';
import { serviceFields } from './nat-service.ts';
import { elementText, type NatState } from './nat-state.ts';
import { replacement, type NatChange } from './nat-transaction.ts';

export interface MemberChanges {
  readonly first: NatChange[];
  readonly last: NatChange[];
}

const byText = (a: readonly FieldValue[], b: readonly FieldValue[]): number => (elementText(a) < elementText(b) ? -1 : 1);

/** Only what differs is put in order: sorting everything would cost more than comparing it. */
function changes(set: SetSpec, missing: (readonly FieldValue[])[], surplus: (readonly FieldValue[])[]): MemberChanges {
  return {
    first: missing.sort(byText).map((key) => replacement(set, { key }, undefined)),
    last: surplus.sort(byText).map((key) => replacement(set, undefined, key)),
  };
}

/** `uses`: by how much the plan changes in how many slots a pod is; of all slots when the plan is for everything. */
export function hairpinChanges(state: NatState, uses: ReadonlyMap<Address, number>, whole: boolean): MemberChanges {
  const { hairpin, podUses, layout } = state;
  const wanted = new Set<string>();
  const missing: (readonly FieldValue[])[] = [];
  const surplus: (readonly FieldValue[])[] = [];
  for (const [pod, by] of uses) {
    const key = [pod, pod];
    const text = elementText(key);
    const used = (whole ? 0 : (podUses.get(pod) ?? 0)) + by > 0;
    if (used) wanted.add(text);
    if (used && !hairpin.has(text)) missing.push(key);
    if (!used && !whole && hairpin.has(text)) surplus.push(key);
  }
  if (whole) for (const [text, key] of hairpin) if (!wanted.has(text)) surplus.push(key);
  return changes(layout.hairpin, missing, surplus);
}

function addressSetChanges(set: SetSpec, wanted: ReadonlySet<Address>, observed: ReadonlySet<Address>): MemberChanges {
  const only = (of: ReadonlySet<Address>, not: ReadonlySet<Address>): FieldValue[][] =>
    [...of].filter((address) => !not.has(address)).map((address) => [address]);
  return changes(set, only(wanted, observed), only(observed, wanted));
}

/** `wanted` are those of the state's family. */
export function addressChanges({ layout, addresses }: NatState, wanted: ReadonlySet<Address>): MemberChanges {
  return addressSetChanges(layout.addresses, wanted, addresses);
}

/** Of these keys, which are of the state's family. */
export function masqueradedChanges(
  { layout, masqueraded }: NatState,
  wanted: NonNullable<DesiredNat['masqueraded']>,
  keys: Iterable<VirtualServiceKey>,
): MemberChanges {
  const missing: (readonly FieldValue[])[] = [];
  const surplus: (readonly FieldValue[])[] = [];
  const fields = (id: NatServiceId): readonly FieldValue[] => [...serviceFields(id)];
  for (const key of keys) {
    const [asked, held] = [wanted.get(key), masqueraded.get(key)];
    if (asked !== undefined && held === undefined) missing.push(fields(asked));
    if (asked === undefined && held !== undefined) surplus.push(fields(held));
  }
  return changes(layout.masqueraded, missing, surplus);
}

/** VIPs by the size of their segments. */
export type SegmentSizes = ReadonlyMap<number, ReadonlySet<Address>>;

/** Of sizes that nobody wants any more the whole set goes, not its elements. */
export function segmentChanges(state: NatState, wanted: SegmentSizes): MemberChanges {
  const first: NatChange[] = [];
  const last: NatChange[] = [];
  for (const [bytes, addresses] of wanted) {
    const part = addressSetChanges(segmentsSet(state.layout, bytes), addresses, state.segments.get(bytes) ?? new Set());
    first.push(...part.first);
    last.push(...part.last);
  }
  return { first, last };
}

/** Sizes in ascending order, of VIPs of one family. */
export function segmentSizes(segments: DesiredNat['segments'], ofFamily: (address: Address) => boolean): SegmentSizes {
  const sizes = new Map<number, Set<Address>>();
  for (const [address, bytes] of segments ?? []) {
    if (!ofFamily(address)) continue;
    const addresses = sizes.get(bytes);
    if (addresses === undefined) sizes.set(bytes, new Set([address]));
    else addresses.add(address);
  }
  return new Map([...sizes].sort(([a], [b]) => a - b));
}

export const isSegmentsSet = (name: string): boolean => segmentsOf(name) !== undefined;
