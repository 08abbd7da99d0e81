/** Steps that the checks of all parts of an input share. */
import type { z } from 'zod';
import { addressFamily, addressKind, canonicalAddress } from './address.ts';
import type { Address } from './cluster.ts';
import { quote } from './problems.ts';
import type { Path, Report } from './problems.ts';
import { shapeOf, type Shape } from './shape.ts';
import { tidy } from './tidy.ts';

/** A check that pauses where others may have their turn; see slices.ts. */
export type Steps<Result> = Generator<undefined, Result, undefined>;

function kindOf(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  return typeof value === 'string' ? 'a text' : typeof value === 'boolean' ? String(value) : `a ${typeof value}`;
}

const expectedWords: Readonly<Record<string, string>> = {
  string: 'a text (in quotes where it looks like a number)',
  boolean: 'true or false',
  object: 'a map',
  record: 'a map',
  array: 'a list',
  int: 'a whole number',
  number: 'a number',
};

/** Expected and found, in the words of configurations rather than of JavaScript. */
function typeMessage(expected: string, found: unknown): string {
  return found === undefined ? 'is missing' : `must be ${expectedWords[expected] ?? expected}, not ${kindOf(found)}`;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value;
  for (const segment of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, segment)) return undefined;
    at = (at as Record<PropertyKey, unknown>)[segment];
  }
  return at;
}

/** A schema made ready for checking many values. */
export class Check<Schema extends z.ZodType> {
  readonly #schema: Schema;
  readonly #shape: Shape;

  constructor(schema: Schema) {
    this.#schema = schema;
    this.#shape = shapeOf(schema);
  }

  /** The value with its keys put right, or undefined after telling what is wrong with it. */
  run(value: unknown, path: Path, report: Report): z.output<Schema> | undefined {
    const before = report.errors;
    const tidied = tidy(value, this.#shape, path, report);
    const result = this.#schema.safeParse(tidied);
    if (!result.success) {
      for (const issue of result.error.issues) {
        const here = [...path, ...issue.path.map((segment) => (typeof segment === 'symbol' ? String(segment) : segment))];
        const found = valueAt(tidied, issue.path);
        // A message of our own schema says what is expected; a missing or mistyped value is told the same way everywhere.
        const typed = issue.code === 'invalid_type' || found === undefined || typeof found === 'object';
        report.error(here, typed && issue.code === 'invalid_type' ? typeMessage(issue.expected, found) : issue.message);
      }
      return undefined;
    }
    return report.errors === before ? result.data : undefined;
  }
}

/** The canonical text of an address that traffic can be sent to; undefined after telling why it is none. */
export function usableAddress(text: string, path: Path, report: Report): Address | undefined {
  const address = canonicalAddress(text);
  if (address === undefined) {
    report.error(path, `${quote(text)} is not an IP address`);
    return undefined;
  }
  const kind = addressKind(address);
  if (kind === 'unicast') return address;
  const what = kind === 'mapped' ? 'an IPv4-mapped address: write it as IPv4' : `${kind === 'unspecified' ? 'an' : 'a'} ${kind} address`;
  report.error(path, `${address} cannot receive traffic from others: it is ${what}`);
  return undefined;
}

export function familyName(address: Address): string {
  return addressFamily(address) === 6 ? 'IPv6' : 'IPv4';
}
