/** Findings in the input: how their place is written, and how many of them are told. */
import type { Problem } from './cluster.ts';
import { nearest } from './suggest.ts';

/** From the root of the document to a value: keys of maps and positions in lists. */
export type Path = readonly (string | number)[];

/**
 * How much a finding weighs. An `error` refuses the input. A `coercion` replaces a value by one that means
 * something else: the agent goes on with it and warns, `validate` counts it as an error unless told to be
 * lenient. A `warning` changes nothing that matters.
 */
export type Severity = 'error' | 'coercion' | 'warning';

/** Junk can be long, and may hold what a terminal would obey. */
const longestQuote = 64;

/** A value of the input as it may stand in a message: in quotes, escaped, cut. */
export function quote(text: string): string {
  return JSON.stringify(text.length > longestQuote ? `${text.slice(0, longestQuote)}…` : text);
}

/** `config."10.50.0.100"."80".ipvsOptions.scheduler`, `services[3].endpoints[0].address` */
export function formatPath(path: Path): string {
  let text = '';
  for (const segment of path) {
    if (typeof segment === 'number') text += `[${segment}]`;
    else text += `${text === '' ? '' : '.'}${/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(segment) ? segment : quote(segment)}`;
  }
  return text;
}

/** `, did you mean "wrr"?` or nothing. */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const found = nearest(word, candidates);
  return found === undefined ? '' : `, did you mean ${quote(found)}?`;
}

interface Finding {
  readonly path: Path;
  readonly message: string;
  line: number | undefined;
}

/** Told of each severity; the rest is counted. */
export const maximumTold = 100;
/** Found errors after which it is pointless to look further. */
const maximumCounted = 1000;

/** Collects what is found while an input is read. */
export class Report {
  readonly #told: Record<Severity, Finding[]> = { error: [], coercion: [], warning: [] };
  readonly #count: Record<Severity, number> = { error: 0, coercion: 0, warning: 0 };
  readonly #once = new Map<string, { finding: Finding | undefined; count: number }>();

  /** @param message a function where making the text costs something: it is called only if it will be told. */
  add(severity: Severity, path: Path, message: string | (() => string), line?: number): void {
    this.#add(severity, path, message, line);
  }

  error(path: Path, message: string | (() => string), line?: number): void {
    this.#add('error', path, message, line);
  }

  #add(severity: Severity, path: Path, message: string | (() => string), line?: number): Finding | undefined {
    this.#count[severity]++;
    const told = this.#told[severity];
    if (told.length >= maximumTold) return undefined;
    const finding = { path: [...path], message: typeof message === 'string' ? message : message(), line };
    told.push(finding);
    return finding;
  }

  /** A warning that is told at its first place only, however often it is met. */
  warnOnce(path: Path, message: string): void {
    const seen = this.#once.get(message);
    if (seen === undefined) this.#once.set(message, { finding: this.#add('warning', path, message), count: 1 });
    else seen.count++;
  }

  /** Errors found so far. */
  get errors(): number {
    return this.#count.error;
  }

  /** True once there are so many errors that finding more helps nobody. */
  isHopeless(): boolean {
    return this.#count.error >= maximumCounted;
  }

  /** Paths of findings that do not know their line yet. */
  get unplaced(): readonly Path[] {
    return Object.values(this.#told).flatMap((findings) =>
      findings.filter((finding) => finding.line === undefined).map((finding) => finding.path),
    );
  }

  /** Fills in lines: `lineOf` gets the text of a path, and of the paths around it from the inside out. */
  place(lineOf: (path: string, around: readonly string[]) => number | undefined): void {
    for (const finding of Object.values(this.#told).flat()) {
      const around = finding.path.map((_, index) => formatPath(finding.path.slice(0, index))).reverse();
      finding.line ??= lineOf(formatPath(finding.path), around);
    }
  }

  /** At most {@link maximumTold} findings in the order of their lines, and one more that counts the rest. */
  list(severity: Severity): Problem[] {
    const counts = new Map([...this.#once.values()].map(({ finding, count }) => [finding, count]));
    const problems = this.#told[severity].map((finding): Problem => {
      const times = counts.get(finding) ?? 1;
      const message = times === 1 ? finding.message : `${finding.message} (${times} times; the first is here)`;
      return { path: formatPath(finding.path), message, ...(finding.line === undefined ? {} : { line: finding.line }) };
    });
    problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
    const rest = this.#count[severity] - problems.length;
    if (rest > 0) {
      const least = severity === 'error' && this.isHopeless() ? 'at least ' : '';
      problems.push({ path: '', message: `and ${least}${rest} more` });
    }
    return problems;
  }
}
