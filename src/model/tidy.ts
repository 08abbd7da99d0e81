/**
 * Puts the keys of an input right before its values are looked at: other letter case is accepted with a
 * warning, unknown keys are errors that name the nearest right one, keys without effect are dropped, and
 * null means absent.
 */
import { unusedKeys } from './config-schema.ts';
import { didYouMean, quote } from './problems.ts';
import type { Path, Report } from './problems.ts';
import type { Shape } from './shape.ts';

export function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function knownKeys(shape: Shape & { kind: 'object' }): string {
  return [...shape.keys.keys()].filter((key) => !unusedKeys.has(key)).join(', ');
}

/** The right spelling of a key; undefined, and an error, for one that is none. */
function rightKey(key: string, shape: Shape & { kind: 'object' }, path: Path, report: Report): string | undefined {
  if (shape.keys.has(key)) return key;
  const right = shape.byLowerCase.get(key.toLowerCase());
  if (right === undefined) {
    report.error(path, () => `unknown key${didYouMean(key, shape.keys.keys()) || `; known here: ${knownKeys(shape)}`}`);
    return undefined;
  }
  report.warnOnce(path, `the key is written ${quote(right)}`);
  return right;
}

/** What has the effect that an unused key promises. */
function insteadOf(key: string): string {
  const instead = unusedKeys.get(key);
  return instead === undefined ? '' : `; ${instead} has`;
}

/** One map: its keys right, its values as they are. The very same object when there is nothing to put right. */
export function tidyKeys(
  value: Readonly<Record<string, unknown>>,
  shape: Shape & { kind: 'object' },
  path: Path,
  report: Report,
): Readonly<Record<string, unknown>> {
  const keys = Object.keys(value);
  if (keys.every((key) => shape.keys.has(key) && !unusedKeys.has(key) && value[key] !== null)) return value;
  const tidied: Record<string, unknown> = {};
  for (const key of keys) {
    const here = [...path, key];
    const right = rightKey(key, shape, here, report);
    if (right === undefined) continue;
    if (unusedKeys.has(right)) report.warnOnce(here, `${quote(right)} has no effect${insteadOf(right)}`);
    else if (right !== key && Object.hasOwn(value, right)) report.error(here, `written twice: also as ${quote(right)}`);
    else if (value[key] !== null) tidied[right] = value[key];
  }
  return tidied;
}

/** The same for a value and all that is in it. Values of the wrong kind are left for the schema to refuse. */
export function tidy(value: unknown, shape: Shape, path: Path, report: Report): unknown {
  if (shape.kind === 'list') {
    if (!Array.isArray(value)) return value;
    return shape.item.kind === 'leaf' ? value : value.map((item, index) => tidy(item, shape.item, [...path, index], report));
  }
  if (shape.kind !== 'object' || !isMap(value)) return value;
  const keyed = tidyKeys(value, shape, path, report);
  let changed: Record<string, unknown> | undefined;
  for (const [key, child] of shape.keys) {
    if (child.kind !== 'list' && child.kind !== 'object') continue;
    const content = keyed[key];
    if (content === undefined) continue;
    const tidied = tidy(content, child, [...path, key], report);
    if (tidied === content) continue;
    changed ??= { ...keyed };
    changed[key] = tidied;
  }
  return changed ?? keyed;
}
