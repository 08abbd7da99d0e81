/** Equality of nftables objects by meaning: an absent option equals its default. */
import type { Chain, SetSpec, Statement } from '../native/nftables-types.ts';
import type { NatRule } from './nat-layout.ts';

/** Text in which equal values are equal: object fields sorted, `undefined` and `false` left out. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined && field !== false);
  return `{${fields
    .map(([name, field]) => `${name}:${canonical(field)}`)
    .sort()
    .join()}}`;
}

/** A rule as observed; statements are undefined when it is outside the vocabulary, which makes it equal to none of ours. */
export interface ObservedRule {
  readonly statements: readonly Statement[] | undefined;
  readonly comment: string | undefined;
}

function sameRule(wanted: NatRule, observed: ObservedRule): boolean {
  return (
    observed.statements !== undefined &&
    observed.comment === wanted.comment &&
    canonical(wanted.statements) === canonical(observed.statements)
  );
}

/** Whether a chain holds exactly these rules, in this order. */
export function sameRules(wanted: readonly NatRule[], observed: readonly ObservedRule[]): boolean {
  return (
    wanted.length === observed.length &&
    wanted.every((rule, at) => {
      const other = observed[at];
      return other !== undefined && sameRule(rule, other);
    })
  );
}

export function sameHook(wanted: Chain['hook'], observed: Chain['hook']): boolean {
  return wanted?.type === observed?.type && wanted?.hook === observed?.hook && wanted?.priority === observed?.priority;
}

export function sameSet(wanted: SetSpec, observed: SetSpec): boolean {
  const value = (set: SetSpec): string => (typeof set.value === 'string' ? set.value : (set.value ?? []).join(' . '));
  return (
    wanted.key.join(' . ') === observed.key.join(' . ') &&
    value(wanted) === value(observed) &&
    (wanted.counter ?? false) === (observed.counter ?? false)
  );
}
