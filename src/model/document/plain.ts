/**
 * Reads the part of YAML that configurations are made of, and with it JSON: maps and lists in block and
 * flow style, plain and quoted words on one line, comments. No anchors, tags, block scalars or words over
 * several lines. One pass, time in proportion to the text, nothing kept but the values: the general
 * library needs 2.7 s and 770 MB for the 3.5 MB that describe 10,000 services, this takes tens of
 * milliseconds. What it takes, it takes exactly as that library does (a property test holds it).
 */
import type { Outline } from './outline.ts';
import { Code, END, Scanner, type Word } from './scanner.ts';

/** Deeper than any configuration; keeps recursion bounded. */
const deepest = 32;

/** More entries than this in one map or list are junk; looking at each would take long and help nobody. */
const mostEntries = 131_072;

export type PlainValue = string | number | boolean | null | PlainValue[] | { [key: string]: PlainValue };
type PlainMap = Record<string, PlainValue>;

/** `__proto__` is a key like any other; plain assignment would set the prototype. */
export function setKey(map: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
  else map[key] = value;
}

class PlainReader extends Scanner {
  readonly #outline: Outline;
  #depth = 0;

  constructor(text: string, outline: Outline) {
    super(text);
    this.#outline = outline;
  }

  read(): PlainValue {
    if (this.text.charCodeAt(0) === 0xfeff) this.lineStart = this.at = 1;
    this.nextLine(true);
    if (this.column === END) return null;
    const value = this.#block(this.column, 0);
    if (this.column !== END) this.fail('more is written here than belongs to what is above (indentation?)');
    return value;
  }

  #descend(): void {
    if (++this.#depth > deepest) this.fail(`nested deeper than ${deepest} levels`);
  }

  #count(entries: number): void {
    if (entries > mostEntries) this.fail(`more than ${mostEntries} entries in one map or list`);
  }

  /** A value that begins at at in column `column`; ends with the next line begun. */
  #block(column: number, flowColumn: number): PlainValue {
    if (this.isItem()) return this.#list(column);
    const code = this.text.charCodeAt(this.at);
    if (code === Code.OPEN_MAP || code === Code.OPEN_LIST) return this.#flowLine(flowColumn);
    const start = this.at;
    const word = this.word(false);
    if (this.text.charCodeAt(this.at) === Code.COLON && this.blankAt(this.at + 1)) return this.#map(column, start, word);
    this.endLine();
    return word.value;
  }

  #flowLine(flowColumn: number): PlainValue {
    this.flowColumn = flowColumn;
    const value = this.#flow();
    this.endLine();
    return value;
  }

  #map(column: number, start: number, word: Word): PlainMap {
    this.#descend();
    const map: PlainMap = {};
    for (let entries = 1; ; entries++) {
      this.#count(entries);
      // Past the colon.
      this.at++;
      this.#outline.enter(word.key, start);
      const known = Object.hasOwn(map, word.key);
      if (known) this.#outline.duplicate(start);
      const value = this.#mapValue(column);
      if (!known) setKey(map, word.key, value);
      this.#outline.leave();
      if (this.column < column) break;
      if (this.column > column) this.fail('indented deeper than the keys above it');
      if (this.isItem()) this.fail('a list item among the keys of a map');
      start = this.at;
      word = this.word(false);
      if (this.text.charCodeAt(this.at) !== Code.COLON || !this.blankAt(this.at + 1)) this.fail('expected "key: value"', start);
    }
    this.#depth--;
    return map;
  }

  #mapValue(column: number): PlainValue {
    this.skipSpace();
    if (this.atLineEnd()) {
      this.endLine();
      if (this.column > column) return this.#block(this.column, column + 1);
      if (this.column === column && this.isItem()) return this.#list(column);
      return null;
    }
    const code = this.text.charCodeAt(this.at);
    if (code === Code.OPEN_MAP || code === Code.OPEN_LIST) return this.#flowLine(column + 1);
    if (this.isItem()) this.fail('a list begins on a line of its own');
    const word = this.word(false);
    this.endLine();
    return word.value;
  }

  #list(column: number): PlainValue[] {
    this.#descend();
    const list: PlainValue[] = [];
    do {
      this.#count(list.length + 1);
      this.#outline.enter(list.length, this.at);
      this.at++;
      while (this.text.charCodeAt(this.at) === Code.SPACE) this.at++;
      if (this.text.charCodeAt(this.at) === Code.TAB) this.fail('lines are indented with spaces, this one has a tab');
      if (this.atLineEnd() || this.text.charCodeAt(this.at) === Code.RETURN) {
        this.endLine();
        list.push(this.column > column ? this.#block(this.column, column + 1) : null);
      } else {
        list.push(this.#block(this.at - this.lineStart, column + 1));
      }
      this.#outline.leave();
      if (this.column > column) this.fail('indented deeper than the list items above it');
    } while (this.column === column && this.isItem());
    this.#depth--;
    return list;
  }

  #flow(): PlainValue {
    const code = this.text.charCodeAt(this.at);
    if (code === Code.OPEN_MAP) return this.#flowMap();
    if (code === Code.OPEN_LIST) return this.#flowList();
    return this.word(true).value;
  }

  #flowMap(): PlainMap {
    this.#descend();
    const map: PlainMap = {};
    this.at++;
    for (let entries = 1; ; entries++) {
      this.#count(entries);
      this.skipFlow();
      if (this.text.charCodeAt(this.at) === Code.CLOSE_MAP) break;
      const start = this.at;
      const word = this.word(true);
      if (word.quoted) this.skipFlow();
      if (this.text.charCodeAt(this.at) !== Code.COLON) this.fail('expected ":" after a key');
      this.at++;
      this.#outline.enter(word.key, start);
      const known = Object.hasOwn(map, word.key);
      if (known) this.#outline.duplicate(start);
      this.skipFlow();
      const code = this.text.charCodeAt(this.at);
      const value = code === Code.COMMA || code === Code.CLOSE_MAP ? null : this.#flow();
      if (!known) setKey(map, word.key, value);
      this.#outline.leave();
      if (!this.#more(Code.CLOSE_MAP)) break;
    }
    this.at++;
    this.#depth--;
    return map;
  }

  #flowList(): PlainValue[] {
    this.#descend();
    const list: PlainValue[] = [];
    this.at++;
    for (;;) {
      this.#count(list.length + 1);
      this.skipFlow();
      if (this.text.charCodeAt(this.at) === Code.CLOSE_LIST) break;
      this.#outline.enter(list.length, this.at);
      list.push(this.#flow());
      this.#outline.leave();
      if (!this.#more(Code.CLOSE_LIST)) break;
    }
    this.at++;
    this.#depth--;
    return list;
  }

  /** After an entry: true past a comma, false at the closing bracket. */
  #more(closing: number): boolean {
    this.skipFlow();
    const code = this.text.charCodeAt(this.at);
    if (code === Code.COMMA) {
      this.at++;
      return true;
    }
    if (code !== closing) this.fail(`expected "," or "${String.fromCharCode(closing)}"`);
    return false;
  }
}

/**
 * The values of a YAML or JSON text; null for one without content.
 * @throws DocumentError where the text is wrong, or goes beyond the part of YAML that is read here
 */
export function readPlain(text: string, outline: Outline): PlainValue {
  return new PlainReader(text, outline).read();
}
