/**
 * Reads the part of YAML that configurations are made of, and with it JSON: maps and lists in block and
 * flow style, plain and quoted words on one line, comments. No anchors, tags, block scalars or words over
 * several lines. One pass, time in proportion to the text, nothing kept but the values: the general
 * library needs 2.7 s and 770 MB for the 3.5 MB that describe 10,000 services, this takes tens of
 * milliseconds. What it takes, it takes exactly as that library does (a property test holds it).
 */
import { DocumentError, type Outline } from './outline.ts';
import { detached, resolveScalar } from './scalars.ts';

/** Deeper than any configuration; keeps recursion bounded. */
const deepest = 32;

/** More entries than this in one map or list are junk; looking at each would take long and help nobody. */
const mostEntries = 131_072;

const TAB = 0x09;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const HASH = 0x23;
const APOSTROPHE = 0x27;
const COMMA = 0x2c;
const DASH = 0x2d;
const COLON = 0x3a;
const QUESTION = 0x3f;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN_MAP = 0x7b;
const CLOSE_MAP = 0x7d;

/** Column of "no more content". */
const END = -1;

const features: ReadonlyMap<string, string> = new Map([
  ['&', 'an anchor'],
  ['*', 'an alias'],
  ['!', 'a tag'],
  ['|', 'a block of text'],
  ['>', 'a folded block of text'],
  ['%', 'a directive'],
  ['@', 'a reserved character'],
  ['`', 'a reserved character'],
]);

export type PlainValue = string | number | boolean | null | PlainValue[] | { [key: string]: PlainValue };
type PlainMap = Record<string, PlainValue>;

/** `__proto__` is a key like any other; plain assignment would set the prototype. */
export function setKey(map: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
  else map[key] = value;
}

class PlainReader {
  readonly #text: string;
  readonly #outline: Outline;
  #at = 0;
  #lineStart = 0;
  /** Column of the content at #at when a line was just begun, {@link END} at the end. */
  #column = END;
  #depth = 0;
  /** Least column of a continuation line of the current flow collection. */
  #flowColumn = 0;

  constructor(text: string, outline: Outline) {
    this.#text = text;
    this.#outline = outline;
  }

  read(): PlainValue {
    if (this.#text.charCodeAt(0) === 0xfeff) this.#lineStart = this.#at = 1;
    this.#nextLine(true);
    if (this.#column === END) return null;
    const value = this.#block(this.#column, 0);
    if (this.#column !== END) this.#fail('more is written here than belongs to what is above (indentation?)');
    return value;
  }

  #fail(message: string, offset = this.#at): never {
    throw new DocumentError(message, offset);
  }

  /** Space, tab, line end or end of text at `at`. */
  #blankAt(at: number): boolean {
    const code = this.#text.charCodeAt(at);
    return code === SPACE || code === NEWLINE || code === TAB || code === RETURN || at >= this.#text.length;
  }

  /** `---` or `...` alone at the start of a line. */
  #markerAt(at: number): boolean {
    return (this.#text.startsWith('---', at) || this.#text.startsWith('...', at)) && this.#blankAt(at + 3);
  }

  #skipComment(): void {
    const end = this.#text.indexOf('\n', this.#at);
    this.#at = end < 0 ? this.#text.length : end;
  }

  /** From the start of a line to the next content, over blank and comment lines. */
  #nextLine(first = false): void {
    const text = this.#text;
    for (;;) {
      while (text.charCodeAt(this.#at) === SPACE) this.#at++;
      const indent = this.#at;
      while (text.charCodeAt(this.#at) === TAB || text.charCodeAt(this.#at) === SPACE || text.charCodeAt(this.#at) === RETURN) this.#at++;
      const code = text.charCodeAt(this.#at);
      if (code === HASH) this.#skipComment();
      if (this.#at >= text.length) {
        this.#column = END;
        return;
      }
      if (text.charCodeAt(this.#at) !== NEWLINE) {
        if (this.#at !== indent) this.#fail('lines are indented with spaces, this one has a tab', indent);
        this.#column = this.#at - this.#lineStart;
        if (this.#column === 0 && this.#markerAt(this.#at)) {
          if (!first || code !== DASH) this.#fail('only one document belongs into a file');
          first = false;
          this.#at += 3;
          while (this.#blankAt(this.#at) && this.#at < text.length && text.charCodeAt(this.#at) !== NEWLINE) this.#at++;
          if (text.charCodeAt(this.#at) === HASH) this.#skipComment();
          if (this.#at < text.length && text.charCodeAt(this.#at) !== NEWLINE) this.#fail('nothing may stand beside "---"');
        } else {
          return;
        }
      }
      this.#lineStart = ++this.#at;
    }
  }

  /** After a value: nothing but a comment may follow on the line. */
  #endLine(): void {
    this.#skipSpace();
    const code = this.#text.charCodeAt(this.#at);
    if (code === HASH) {
      if (!this.#blankAt(this.#at - 1)) this.#fail('a comment needs a space before it');
      this.#skipComment();
    } else if (code !== NEWLINE && this.#at < this.#text.length) {
      this.#fail('more is written on this line than belongs to the value');
    }
    if (this.#at < this.#text.length) this.#lineStart = ++this.#at;
    this.#nextLine();
  }

  #skipSpace(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== SPACE && code !== TAB && code !== RETURN) return;
      this.#at++;
    }
  }

  /** True at a line end or a comment. */
  #atLineEnd(): boolean {
    const code = this.#text.charCodeAt(this.#at);
    return code === NEWLINE || this.#at >= this.#text.length || (code === HASH && this.#blankAt(this.#at - 1));
  }

  #isItem(): boolean {
    return this.#text.charCodeAt(this.#at) === DASH && this.#blankAt(this.#at + 1);
  }

  #descend(): void {
    if (++this.#depth > deepest) this.#fail(`nested deeper than ${deepest} levels`);
  }

  #count(entries: number): void {
    if (entries > mostEntries) this.#fail(`more than ${mostEntries} entries in one map or list`);
  }

  /** A value that begins at #at in column `column`; ends with the next line begun. */
  #block(column: number, flowColumn: number): PlainValue {
    if (this.#isItem()) return this.#list(column);
    const code = this.#text.charCodeAt(this.#at);
    if (code === OPEN_MAP || code === OPEN_LIST) return this.#flowLine(flowColumn);
    const start = this.#at;
    const word = this.#word(false);
    if (this.#text.charCodeAt(this.#at) === COLON && this.#blankAt(this.#at + 1)) return this.#map(column, start, word);
    this.#endLine();
    return word.value;
  }

  #flowLine(flowColumn: number): PlainValue {
    this.#flowColumn = flowColumn;
    const value = this.#flow();
    this.#endLine();
    return value;
  }

  #map(column: number, start: number, word: Word): PlainMap {
    this.#descend();
    const map: PlainMap = {};
    for (let entries = 1; ; entries++) {
      this.#count(entries);
      // Past the colon.
      this.#at++;
      this.#outline.enter(word.key, start);
      const known = Object.hasOwn(map, word.key);
      if (known) this.#outline.duplicate(start);
      const value = this.#mapValue(column);
      if (!known) setKey(map, word.key, value);
      this.#outline.leave();
      if (this.#column < column) break;
      if (this.#column > column) this.#fail('indented deeper than the keys above it');
      if (this.#isItem()) this.#fail('a list item among the keys of a map');
      start = this.#at;
      word = this.#word(false);
      if (this.#text.charCodeAt(this.#at) !== COLON || !this.#blankAt(this.#at + 1)) this.#fail('expected "key: value"', start);
    }
    this.#depth--;
    return map;
  }

  #mapValue(column: number): PlainValue {
    this.#skipSpace();
    if (this.#atLineEnd()) {
      this.#endLine();
      if (this.#column > column) return this.#block(this.#column, column + 1);
      if (this.#column === column && this.#isItem()) return this.#list(column);
      return null;
    }
    const code = this.#text.charCodeAt(this.#at);
    if (code === OPEN_MAP || code === OPEN_LIST) return this.#flowLine(column + 1);
    if (this.#isItem()) this.#fail('a list begins on a line of its own');
    const word = this.#word(false);
    this.#endLine();
    return word.value;
  }

  #list(column: number): PlainValue[] {
    this.#descend();
    const list: PlainValue[] = [];
    do {
      this.#count(list.length + 1);
      this.#outline.enter(list.length, this.#at);
      this.#at++;
      while (this.#text.charCodeAt(this.#at) === SPACE) this.#at++;
      if (this.#text.charCodeAt(this.#at) === TAB) this.#fail('lines are indented with spaces, this one has a tab');
      if (this.#atLineEnd() || this.#text.charCodeAt(this.#at) === RETURN) {
        this.#endLine();
        list.push(this.#column > column ? this.#block(this.#column, column + 1) : null);
      } else {
        list.push(this.#block(this.#at - this.#lineStart, column + 1));
      }
      this.#outline.leave();
      if (this.#column > column) this.#fail('indented deeper than the list items above it');
    } while (this.#column === column && this.#isItem());
    this.#depth--;
    return list;
  }

  // ── flow style ──────────────────────────────────────────────────────────────

  /** Over blanks, line ends and comments inside a flow collection. */
  #skipFlow(): void {
    for (;;) {
      this.#skipSpace();
      const code = this.#text.charCodeAt(this.#at);
      if (code === HASH) {
        if (!this.#blankAt(this.#at - 1)) this.#fail('a comment needs a space before it');
        this.#skipComment();
      } else if (code === NEWLINE) {
        this.#lineStart = ++this.#at;
        this.#checkFlowIndent();
      } else {
        return;
      }
    }
  }

  #checkFlowIndent(): void {
    if (this.#markerAt(this.#at)) this.#fail('a document ends inside brackets');
    if (this.#flowColumn === 0) return;
    let at = this.#at;
    while (this.#text.charCodeAt(at) === SPACE) at++;
    const code = this.#text.charCodeAt(at);
    if (this.#blankAt(at) || code === HASH) return;
    const least = code === CLOSE_MAP || code === CLOSE_LIST ? this.#flowColumn - 1 : this.#flowColumn;
    if (at - this.#lineStart < least) this.#fail('brackets go on here, but the line is not indented', at);
  }

  #flow(): PlainValue {
    const code = this.#text.charCodeAt(this.#at);
    if (code === OPEN_MAP) return this.#flowMap();
    if (code === OPEN_LIST) return this.#flowList();
    return this.#word(true).value;
  }

  #flowMap(): PlainMap {
    this.#descend();
    const map: PlainMap = {};
    this.#at++;
    for (let entries = 1; ; entries++) {
      this.#count(entries);
      this.#skipFlow();
      if (this.#text.charCodeAt(this.#at) === CLOSE_MAP) break;
      const start = this.#at;
      const word = this.#word(true);
      if (word.quoted) this.#skipFlow();
      if (this.#text.charCodeAt(this.#at) !== COLON) this.#fail('expected ":" after a key');
      this.#at++;
      this.#outline.enter(word.key, start);
      const known = Object.hasOwn(map, word.key);
      if (known) this.#outline.duplicate(start);
      this.#skipFlow();
      const code = this.#text.charCodeAt(this.#at);
      const value = code === COMMA || code === CLOSE_MAP ? null : this.#flow();
      if (!known) setKey(map, word.key, value);
      this.#outline.leave();
      if (!this.#more(CLOSE_MAP)) break;
    }
    this.#at++;
    this.#depth--;
    return map;
  }

  #flowList(): PlainValue[] {
    this.#descend();
    const list: PlainValue[] = [];
    this.#at++;
    for (;;) {
      this.#count(list.length + 1);
      this.#skipFlow();
      if (this.#text.charCodeAt(this.#at) === CLOSE_LIST) break;
      this.#outline.enter(list.length, this.#at);
      list.push(this.#flow());
      this.#outline.leave();
      if (!this.#more(CLOSE_LIST)) break;
    }
    this.#at++;
    this.#depth--;
    return list;
  }

  /** After an entry: true past a comma, false at the closing bracket. */
  #more(closing: number): boolean {
    this.#skipFlow();
    const code = this.#text.charCodeAt(this.#at);
    if (code === COMMA) {
      this.#at++;
      return true;
    }
    if (code !== closing) this.#fail(`expected "," or "${String.fromCharCode(closing)}"`);
    return false;
  }

  // ── words ───────────────────────────────────────────────────────────────────

  /** A plain or quoted word on one line; blanks after it are skipped. */
  #word(flow: boolean): Word {
    const code = this.#text.charCodeAt(this.#at);
    if (code === QUOTE || code === APOSTROPHE) {
      const value = code === QUOTE ? this.#doubleQuoted() : this.#singleQuoted();
      this.#skipSpace();
      return { key: value, value, quoted: true };
    }
    const start = this.#at;
    const text = this.#plain(flow);
    if (text === '') this.#fail(this.#at >= this.#text.length ? 'the text ends too early' : 'a value is missing here', start);
    this.#skipSpace();
    return { key: detached(text), value: resolveScalar(text), quoted: false };
  }

  #doubleQuoted(): string {
    const text = this.#text;
    const start = this.#at++;
    let escaped = false;
    for (; ; this.#at++) {
      const code = text.charCodeAt(this.#at);
      if (code === QUOTE) break;
      if (code === BACKSLASH) {
        escaped = true;
        this.#at++;
      } else if (code === NEWLINE || this.#at >= text.length) {
        this.#fail('a quoted word is not closed on its line', start);
      }
    }
    this.#at++;
    if (!escaped) return detached(text.slice(start + 1, this.#at - 1));
    try {
      // The escapes of JSON mean the same in YAML. Tabs are the one raw control character that got here.
      return JSON.parse(text.slice(start, this.#at).replaceAll('\t', '\\t')) as string;
    } catch {
      return this.#fail('a quoted word has an escape that JSON does not know', start);
    }
  }

  #singleQuoted(): string {
    const text = this.#text;
    const start = this.#at++;
    for (; ; this.#at++) {
      const code = text.charCodeAt(this.#at);
      if (code === NEWLINE || this.#at >= text.length) this.#fail('a quoted word is not closed on its line', start);
      if (code !== APOSTROPHE) continue;
      if (text.charCodeAt(this.#at + 1) !== APOSTROPHE) break;
      this.#at++;
    }
    this.#at++;
    return detached(text.slice(start + 1, this.#at - 1).replaceAll("''", "'"));
  }

  /** Up to what ends an unquoted word; without the blanks at its end. */
  #plain(flow: boolean): string {
    const text = this.#text;
    const start = this.#at;
    const first = text.charCodeAt(start);
    const feature = features.get(text.charAt(start));
    if (feature !== undefined) this.#fail(`${feature} (write it out, or keep the file small)`);
    if (first === CLOSE_LIST || first === CLOSE_MAP || first === COMMA || first === OPEN_LIST || first === OPEN_MAP) {
      this.#fail(`unexpected ${JSON.stringify(text.charAt(start))}`);
    }
    if ((first === DASH || first === QUESTION || first === COLON) && (this.#blankAt(start + 1) || (flow && this.#indicatorAt(start + 1)))) {
      this.#fail(`unexpected ${JSON.stringify(text.charAt(start))}`);
    }
    let end = start;
    for (; end < text.length; end++) {
      const code = text.charCodeAt(end);
      if (code === NEWLINE) break;
      if (code === HASH && this.#blankAt(end - 1)) break;
      if (code === COLON && (this.#blankAt(end + 1) || (flow && this.#indicatorAt(end + 1)))) break;
      if (flow && this.#indicatorAt(end)) break;
    }
    this.#at = end;
    while (end > start && this.#blankAt(end - 1)) end--;
    return text.slice(start, end);
  }

  #indicatorAt(at: number): boolean {
    const code = this.#text.charCodeAt(at);
    return code === COMMA || code === OPEN_LIST || code === CLOSE_LIST || code === OPEN_MAP || code === CLOSE_MAP;
  }
}

interface Word {
  /** As it is written: a key is text even where it looks like a number. */
  readonly key: string;
  readonly value: string | number | boolean | null;
  readonly quoted: boolean;
}

/**
 * The values of a YAML or JSON text; null for one without content.
 * @throws DocumentError where the text is wrong, or goes beyond the part of YAML that is read here
 */
export function readPlain(text: string, outline: Outline): PlainValue {
  return new PlainReader(text, outline).read();
}
