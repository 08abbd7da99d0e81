/** Where in a text the values stand, told while it is read. */
import { formatPath } from '../problems.ts';
import type { Path } from '../problems.ts';

/** A text that cannot be read, at one place. */
export class DocumentError extends Error {
  override readonly name = 'DocumentError';
  /** UTF-16 units from the start of the text. */
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

export interface Duplicate {
  readonly path: Path;
  readonly offset: number;
}

/** 1-based line of an offset. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < offset; at = text.indexOf('\n', at + 1)) line++;
  return line;
}

interface Wanted {
  readonly below: Map<string | number, Wanted>;
  path: string | undefined;
}

/**
 * Follows a reader through the document. Readers call {@link enter} at each key or list item, in the order of
 * the text, and {@link leave} after its value. Keeps the offsets of the paths it was asked for, and the
 * keys that were written twice.
 */
export class Outline {
  readonly path: (string | number)[] = [];
  readonly duplicates: Duplicate[] = [];
  readonly offsets = new Map<string, number>();
  /** Paths whose offsets are kept. */
  readonly wanted: readonly Path[];
  readonly #trail: (Wanted | undefined)[];

  constructor(wanted: readonly Path[] = []) {
    this.wanted = wanted;
    const root: Wanted = { below: new Map(), path: undefined };
    for (const path of wanted) {
      let node = root;
      for (const segment of path) {
        const next = node.below.get(segment) ?? { below: new Map(), path: undefined };
        node.below.set(segment, next);
        node = next;
      }
      node.path = formatPath(path);
    }
    this.#trail = wanted.length === 0 ? [] : [root];
  }

  enter(segment: string | number, offset: number): void {
    this.path.push(segment);
    if (this.#trail.length === 0) return;
    const node = this.#trail[this.#trail.length - 1]?.below.get(segment);
    this.#trail.push(node);
    // The first of two equal keys is the one that counts.
    if (node?.path !== undefined && !this.offsets.has(node.path)) this.offsets.set(node.path, offset);
  }

  leave(): void {
    this.path.pop();
    if (this.#trail.length > 0) this.#trail.pop();
  }

  /** The key just entered is already there. */
  duplicate(offset: number): void {
    if (this.duplicates.length < 1000) this.duplicates.push({ path: [...this.path], offset });
  }
}
