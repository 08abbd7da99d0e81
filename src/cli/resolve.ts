/** Flags from their three places: command line before environment before --config before default. */
import { readFile } from 'node:fs/promises';
import { parse, YAMLParseError } from 'yaml';
import { didYouMean } from '../model/problems.ts';
import { deadFlags, environmentName, flags, type Flag, type FlagName, type FlagValues } from './flags.ts';

/** The command cannot run as it was called. Exit code 1. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface Resolved {
  readonly values: FlagValues;
  /** Dead flags in use, one line each. */
  readonly warnings: readonly string[];
}

interface Given {
  readonly value: unknown;
  /** As the user wrote it: `--arp-refresh`, `RAVEL_ARP_REFRESH`, `arp-refresh in agent.yaml`. */
  readonly place: string;
}

const names = Object.keys(flags) as FlagName[];

async function readConfigFile(path: string): Promise<ReadonlyMap<string, unknown>> {
  let content: unknown;
  try {
    content = parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (error instanceof YAMLParseError) throw new UsageError(`${path}: ${error.message}`);
    throw new UsageError(`--config: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (content === null || content === undefined) return new Map();
  if (typeof content !== 'object' || Array.isArray(content)) throw new UsageError(`${path}: must be a map of flags`);
  const entries = new Map<string, unknown>(Object.entries(content));
  const known = [...names, ...Object.keys(deadFlags)];
  const unknown = [...entries.keys()].filter((key) => !known.includes(key));
  if (unknown.length > 0) throw new UsageError(unknown.map((key) => `${path}: unknown flag ${key}${didYouMean(key, known)}`).join('\n'));
  return entries;
}

/**
 * `argv` are the parsed arguments. Environment variables are read by name: others that begin with
 * RAVEL_ are left alone, because Kubernetes makes some for every Service called ravel.
 */
export async function resolveFlags(argv: Readonly<Record<string, unknown>>, environment: NodeJS.ProcessEnv): Promise<Resolved> {
  const given = (place: string, value: unknown): Given | undefined => (value === undefined ? undefined : { place, value });
  const path = argv['config'] ?? environment[environmentName('config')];
  if (path !== undefined && typeof path !== 'string') throw new UsageError('--config: given more than once');
  const file = path === undefined || path === '' ? new Map<string, unknown>() : await readConfigFile(path);
  const find = (name: string): Given | undefined =>
    given(`--${name}`, argv[name]) ??
    given(environmentName(name), environment[environmentName(name)]) ??
    given(`${name} in ${String(path)}`, file.get(name) ?? undefined);

  const values: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const name of names) {
    const { schema, kind, quiet = false, default: fallback }: Flag = flags[name];
    const found = find(name);
    if (found === undefined) {
      if (fallback !== undefined) values[name] = fallback;
      continue;
    }
    if (kind !== 'list' && Array.isArray(found.value)) {
      problems.push(`${found.place}: given more than once`);
      continue;
    }
    const result = schema.safeParse(found.value);
    if (result.success) values[name] = result.data;
    else {
      const not = quiet ? '' : `, not ${JSON.stringify(found.value)}`;
      problems.push(...result.error.issues.map(({ message }) => `${found.place}: ${message}${not}`));
    }
  }
  if (problems.length > 0) throw new UsageError(problems.join('\n'));
  const warnings = Object.entries(deadFlags).flatMap(([name, why]) => {
    const found = find(name);
    return found === undefined ? [] : [`${found.place} has no effect: ${why}`];
  });
  return { values, warnings };
}
