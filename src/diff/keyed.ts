/**
 * The difference of two keyed collections:
 *
 *      desired            observed
 *     ┌─────────┬────────┬─────────┐
 *     │ missing │changed │ surplus │
 *     └─────────┴────────┴─────────┘
 *               (equal pairs are left out)
 */

export interface KeyedDiff<Key, Desired, Observed> {
  readonly missing: readonly { readonly key: Key; readonly desired: Desired }[];
  readonly changed: readonly { readonly key: Key; readonly desired: Desired; readonly observed: Observed }[];
  readonly surplus: readonly { readonly key: Key; readonly observed: Observed }[];
}

/**
 * Compares by key; `equal` decides whether a pair with the same key differs. Order: missing and
 * changed as in `desired`, surplus as in `observed`.
 */
export function diffKeyed<Key, Desired, Observed>(
  desired: ReadonlyMap<Key, Desired>,
  observed: ReadonlyMap<Key, Observed>,
  equal: (desired: Desired, observed: Observed) => boolean,
): KeyedDiff<Key, Desired, Observed> {
  const missing: { key: Key; desired: Desired }[] = [];
  const changed: { key: Key; desired: Desired; observed: Observed }[] = [];
  for (const [key, want] of desired) {
    const have = observed.get(key);
    if (have === undefined) missing.push({ key, desired: want });
    else if (!equal(want, have)) changed.push({ key, desired: want, observed: have });
  }
  const surplus: { key: Key; observed: Observed }[] = [];
  for (const [key, have] of observed) if (!desired.has(key)) surplus.push({ key, observed: have });
  return { missing, changed, surplus };
}
