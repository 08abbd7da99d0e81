/** From the text of a configuration to a state, with every finding at its path and line. */
import type { ClusterState, Problem } from './cluster.ts';
import { readClusterState, type StateOptions } from './cluster-state.ts';
import type { Steps } from './check.ts';
import { DocumentError, lineAt, type Outline } from './document/outline.ts';
import { decodeText, locate, readDocument } from './document/read.ts';
import { Report, type Path } from './problems.ts';
import { isMap } from './tidy.ts';

export interface ReadResult {
  /** Undefined exactly when there are errors. */
  readonly state: ClusterState | undefined;
  readonly errors: readonly Problem[];
  /** Values that were replaced by others: see Severity. */
  readonly coercions: readonly Problem[];
  readonly warnings: readonly Problem[];
}

export interface ReadOptions extends Omit<StateOptions, 'carrier'> {
  /** `auto`: a text without `nodes` and `services` is a configuration alone. */
  readonly carrier: StateOptions['carrier'] | 'auto';
}

/** Fills in the lines of what was found, by reading the text once more. */
function place(report: Report, text: string): void {
  const paths = report.unplaced;
  if (paths.length === 0) return;
  // What is missing has no line of its own: the nearest thing around it that is there stands for it.
  const parents = (path: Path): Path[] => path.map((_, index) => path.slice(0, index + 1));
  const offsets = locate(text, paths.flatMap(parents));
  const lines = new Map<number, number>();
  report.place((path, around) => {
    const offset = [path, ...around].map((candidate) => offsets.get(candidate)).find((found) => found !== undefined);
    if (offset === undefined) return undefined;
    const line = lines.get(offset) ?? lineAt(text, offset);
    lines.set(offset, line);
    return line;
  });
}

function reportDuplicates(outline: Outline, text: string, report: Report): void {
  for (const { path, offset } of outline.duplicates) report.error(path, 'is written twice', lineAt(text, offset));
}

function hasCluster(value: unknown): boolean {
  return isMap(value) && Object.keys(value).some((key) => /^(?:nodes|services)$/i.test(key));
}

/** Reads a file, YAML or JSON, or the text of a ConfigMap key. Throws nothing, whatever is in it. */
export function* readCluster(input: string | Uint8Array, options: ReadOptions): Steps<ReadResult> {
  const report = new Report();
  let state: ClusterState | undefined;
  let text = '';
  try {
    text = typeof input === 'string' ? input : decodeText(input);
    const { value, outline } = readDocument(text);
    reportDuplicates(outline, text, report);
    yield;
    let { carrier } = options;
    if (carrier === 'auto') {
      carrier = hasCluster(value) ? 'cluster' : 'config';
      if (carrier === 'config') report.add('warning', [], 'no nodes and services in it: what the configuration refers to was not checked');
    }
    state = yield* readClusterState(value, { ...options, carrier }, report);
    place(report, text);
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    report.error([], error.message, text === '' ? undefined : lineAt(text, error.offset));
  }
  if (report.errors > 0) state = undefined;
  return { state, errors: report.list('error'), coercions: report.list('coercion'), warnings: report.list('warning') };
}
