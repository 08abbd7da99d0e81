/**
 * Reads all of YAML with the general library: anchors, blocks of text, words over several lines. For
 * small texts only, because of what it costs (see plain.ts).
 */
import { isAlias, isMap, isScalar, isSeq, parseDocument } from 'yaml';
import type { Alias, Node } from 'yaml';
import { DocumentError, type Outline } from './outline.ts';
import { setKey, type PlainValue } from './plain.ts';
import { detached } from './scalars.ts';

/** Longest text given to the library: 0.2 s for the worst junk that was found. */
export const generalLimit = 64 * 1024;

/** Values that aliases may add to a document; what is written out is bounded by its length. */
const aliasBudget = 10_000;

/** The library recurses for each level, so depth is bounded before it starts. */
const deepest = 200;

/** A bound on the nesting: brackets open at once, indentation, and `- - -` or `? ? ?` on one line. */
function checkDepth(text: string): void {
  let brackets = 0;
  let column = 0;
  let markers = 0;
  let inIndent = true;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '\n') {
      column = 0;
      markers = 0;
      inIndent = true;
    } else {
      column++;
      if (char === '[' || char === '{') brackets++;
      else if (char === ']' || char === '}') brackets = Math.max(0, brackets - 1);
      if (inIndent && (char === '-' || char === '?' || char === ':')) markers++;
      else if (char !== ' ') inIndent = false;
    }
    if (brackets > deepest || markers > deepest || (inIndent && column > deepest * 4)) {
      throw new DocumentError(`nested deeper than ${deepest} levels`, at);
    }
  }
}

interface Converted {
  readonly value: PlainValue;
  readonly size: number;
}

/** Nodes to plain values, keys as they are written. Aliases share the value of their anchor. */
class Converter {
  readonly #outline: Outline;
  readonly #anchors = new Map<string, Converted>();
  #aliased = 0;

  constructor(outline: Outline) {
    this.#outline = outline;
  }

  convert(node: unknown): Converted {
    if (isAlias(node)) return this.#alias(node);
    const converted = this.#plain(node);
    const anchor = (node as { anchor?: string } | null)?.anchor;
    if (anchor !== undefined) this.#anchors.set(anchor, converted);
    return converted;
  }

  #alias(node: Alias.Parsed | Alias): Converted {
    const converted = this.#anchors.get(node.source);
    const offset = node.range?.[0] ?? 0;
    if (converted === undefined) throw new DocumentError('an alias without an anchor before it', offset);
    this.#aliased += converted.size;
    if (this.#aliased > aliasBudget) throw new DocumentError(`aliases stand for more than ${aliasBudget} values`, offset);
    return converted;
  }

  #plain(node: unknown): Converted {
    if (isMap(node)) {
      const map: Record<string, PlainValue> = {};
      let size = 1;
      for (const pair of node.items) {
        const key = this.#key(pair.key);
        const offset = (pair.key as Node | null)?.range?.[0] ?? 0;
        this.#outline.enter(key, offset);
        if (Object.hasOwn(map, key)) this.#outline.duplicate(offset);
        const converted = this.convert(pair.value);
        if (!Object.hasOwn(map, key)) setKey(map, key, converted.value);
        this.#outline.leave();
        size += converted.size;
      }
      return { value: map, size };
    }
    if (isSeq(node)) {
      let size = 1;
      const list = node.items.map((item, index) => {
        this.#outline.enter(index, (item as Node | null)?.range?.[0] ?? 0);
        const converted = this.convert(item);
        this.#outline.leave();
        size += converted.size;
        return converted.value;
      });
      return { value: list, size };
    }
    const value: unknown = isScalar(node) ? node.value : null;
    if (typeof value === 'string') return { value: detached(value), size: 1 };
    return { value: typeof value === 'number' || typeof value === 'boolean' ? value : null, size: 1 };
  }

  #key(node: unknown): string {
    if (!isScalar(node)) throw new DocumentError('a key is a word of its own', (node as Node | null)?.range?.[0] ?? 0);
    if (node.source !== undefined) return detached(node.source);
    return typeof node.value === 'string' ? detached(node.value) : '';
  }
}

/**
 * The values of a YAML text; null for one without content.
 * @throws DocumentError at the first place that is wrong
 */
export function readGeneral(text: string, outline: Outline): PlainValue {
  checkDepth(text);
  const document = parseDocument(text, { prettyErrors: false, uniqueKeys: false, logLevel: 'error' });
  const [error] = document.errors;
  if (error !== undefined) throw new DocumentError(error.message.split('\n', 1)[0]?.slice(0, 160) ?? '', error.pos[0]);
  return new Converter(outline).convert(document.contents).value;
}
