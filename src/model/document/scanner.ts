/**
 * The lines and words of plain YAML: where content begins, where a line ends, what a word is. What they make
 * together is plain.ts.
 */
import { DocumentError } from './outline.ts';
import { detached, resolveScalar } from './scalars.ts';

/** Characters that mean something, by their code. */
export const Code = {
  TAB: 0x09,
  NEWLINE: 0x0a,
  RETURN: 0x0d,
  SPACE: 0x20,
  QUOTE: 0x22,
  HASH: 0x23,
  APOSTROPHE: 0x27,
  COMMA: 0x2c,
  DASH: 0x2d,
  COLON: 0x3a,
  QUESTION: 0x3f,
  OPEN_LIST: 0x5b,
  BACKSLASH: 0x5c,
  CLOSE_LIST: 0x5d,
  OPEN_MAP: 0x7b,
  CLOSE_MAP: 0x7d,
} as const;

/** Column of "no more content". */
export const END = -1;

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

export interface Word {
  /** As it is written: a key is text even where it looks like a number. */
  readonly key: string;
  readonly value: string | number | boolean | null;
  readonly quoted: boolean;
}

export class Scanner {
  protected readonly text: string;
  protected at = 0;
  protected lineStart = 0;
  /** Column of the content at `at` when a line was just begun, {@link END} at the end. */
  protected column = END;
  /** Least column of a continuation line of the current flow collection. */
  protected flowColumn = 0;

  constructor(text: string) {
    this.text = text;
  }

  protected fail(message: string, offset = this.at): never {
    throw new DocumentError(message, offset);
  }

  /** Space, tab, line end or end of text at `at`. */
  protected blankAt(at: number): boolean {
    const code = this.text.charCodeAt(at);
    return code === Code.SPACE || code === Code.NEWLINE || code === Code.TAB || code === Code.RETURN || at >= this.text.length;
  }

  /** `---` or `...` alone at the start of a line. */
  #markerAt(at: number): boolean {
    return (this.text.startsWith('---', at) || this.text.startsWith('...', at)) && this.blankAt(at + 3);
  }

  #skipComment(): void {
    const end = this.text.indexOf('\n', this.at);
    this.at = end < 0 ? this.text.length : end;
  }

  /** From the start of a line to the next content, over blank and comment lines. */
  protected nextLine(first = false): void {
    const text = this.text;
    for (;;) {
      while (text.charCodeAt(this.at) === Code.SPACE) this.at++;
      const indent = this.at;
      while (text.charCodeAt(this.at) === Code.TAB || text.charCodeAt(this.at) === Code.SPACE || text.charCodeAt(this.at) === Code.RETURN)
        this.at++;
      const code = text.charCodeAt(this.at);
      if (code === Code.HASH) this.#skipComment();
      if (this.at >= text.length) {
        this.column = END;
        return;
      }
      if (text.charCodeAt(this.at) !== Code.NEWLINE) {
        if (this.at !== indent) this.fail('lines are indented with spaces, this one has a tab', indent);
        this.column = this.at - this.lineStart;
        if (this.column === 0 && this.#markerAt(this.at)) {
          if (!first || code !== Code.DASH) this.fail('only one document belongs into a file');
          first = false;
          this.at += 3;
          while (this.blankAt(this.at) && this.at < text.length && text.charCodeAt(this.at) !== Code.NEWLINE) this.at++;
          if (text.charCodeAt(this.at) === Code.HASH) this.#skipComment();
          if (this.at < text.length && text.charCodeAt(this.at) !== Code.NEWLINE) this.fail('nothing may stand beside "---"');
        } else {
          return;
        }
      }
      this.lineStart = ++this.at;
    }
  }

  /** After a value: nothing but a comment may follow on the line. */
  protected endLine(): void {
    this.skipSpace();
    const code = this.text.charCodeAt(this.at);
    if (code === Code.HASH) {
      if (!this.blankAt(this.at - 1)) this.fail('a comment needs a space before it');
      this.#skipComment();
    } else if (code !== Code.NEWLINE && this.at < this.text.length) {
      this.fail('more is written on this line than belongs to the value');
    }
    if (this.at < this.text.length) this.lineStart = ++this.at;
    this.nextLine();
  }

  protected skipSpace(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== Code.SPACE && code !== Code.TAB && code !== Code.RETURN) return;
      this.at++;
    }
  }

  /** True at a line end or a comment. */
  protected atLineEnd(): boolean {
    const code = this.text.charCodeAt(this.at);
    return code === Code.NEWLINE || this.at >= this.text.length || (code === Code.HASH && this.blankAt(this.at - 1));
  }

  protected isItem(): boolean {
    return this.text.charCodeAt(this.at) === Code.DASH && this.blankAt(this.at + 1);
  }

  /** Over blanks, line ends and comments inside a flow collection. */
  protected skipFlow(): void {
    for (;;) {
      this.skipSpace();
      const code = this.text.charCodeAt(this.at);
      if (code === Code.HASH) {
        if (!this.blankAt(this.at - 1)) this.fail('a comment needs a space before it');
        this.#skipComment();
      } else if (code === Code.NEWLINE) {
        this.lineStart = ++this.at;
        this.#checkFlowIndent();
      } else {
        return;
      }
    }
  }

  #checkFlowIndent(): void {
    if (this.#markerAt(this.at)) this.fail('a document ends inside brackets');
    if (this.flowColumn === 0) return;
    let at = this.at;
    while (this.text.charCodeAt(at) === Code.SPACE) at++;
    const code = this.text.charCodeAt(at);
    if (this.blankAt(at) || code === Code.HASH) return;
    const least = code === Code.CLOSE_MAP || code === Code.CLOSE_LIST ? this.flowColumn - 1 : this.flowColumn;
    if (at - this.lineStart < least) this.fail('brackets go on here, but the line is not indented', at);
  }

  /** A plain or quoted word on one line; blanks after it are skipped. */
  protected word(flow: boolean): Word {
    const code = this.text.charCodeAt(this.at);
    if (code === Code.QUOTE || code === Code.APOSTROPHE) {
      const value = code === Code.QUOTE ? this.#doubleQuoted() : this.#singleQuoted();
      this.skipSpace();
      return { key: value, value, quoted: true };
    }
    const start = this.at;
    const text = this.#plain(flow);
    if (text === '') this.fail(this.at >= this.text.length ? 'the text ends too early' : 'a value is missing here', start);
    this.skipSpace();
    return { key: detached(text), value: resolveScalar(text), quoted: false };
  }

  #doubleQuoted(): string {
    const text = this.text;
    const start = this.at++;
    let escaped = false;
    for (; ; this.at++) {
      const code = text.charCodeAt(this.at);
      if (code === Code.QUOTE) break;
      if (code === Code.BACKSLASH) {
        escaped = true;
        this.at++;
      } else if (code === Code.NEWLINE || this.at >= text.length) {
        this.fail('a quoted word is not closed on its line', start);
      }
    }
    this.at++;
    if (!escaped) return detached(text.slice(start + 1, this.at - 1));
    try {
      // The escapes of JSON mean the same in YAML. Tabs are the one raw control character that got here.
      return JSON.parse(text.slice(start, this.at).replaceAll('\t', '\\t')) as string;
    } catch {
      return this.fail('a quoted word has an escape that JSON does not know', start);
    }
  }

  #singleQuoted(): string {
    const text = this.text;
    const start = this.at++;
    for (; ; this.at++) {
      const code = text.charCodeAt(this.at);
      if (code === Code.NEWLINE || this.at >= text.length) this.fail('a quoted word is not closed on its line', start);
      if (code !== Code.APOSTROPHE) continue;
      if (text.charCodeAt(this.at + 1) !== Code.APOSTROPHE) break;
      this.at++;
    }
    this.at++;
    return detached(text.slice(start + 1, this.at - 1).replaceAll("''", "'"));
  }

  /** Up to what ends an unquoted word; without the blanks at its end. */
  #plain(flow: boolean): string {
    const text = this.text;
    const start = this.at;
    const first = text.charCodeAt(start);
    const feature = features.get(text.charAt(start));
    if (feature !== undefined) this.fail(`${feature} (write it out, or keep the file small)`);
    if (
      first === Code.CLOSE_LIST ||
      first === Code.CLOSE_MAP ||
      first === Code.COMMA ||
      first === Code.OPEN_LIST ||
      first === Code.OPEN_MAP
    ) {
      this.fail(`unexpected ${JSON.stringify(text.charAt(start))}`);
    }
    if (
      (first === Code.DASH || first === Code.QUESTION || first === Code.COLON) &&
      (this.blankAt(start + 1) || (flow && this.indicatorAt(start + 1)))
    ) {
      this.fail(`unexpected ${JSON.stringify(text.charAt(start))}`);
    }
    let end = start;
    for (; end < text.length; end++) {
      const code = text.charCodeAt(end);
      if (code === Code.NEWLINE) break;
      if (code === Code.HASH && this.blankAt(end - 1)) break;
      if (code === Code.COLON && (this.blankAt(end + 1) || (flow && this.indicatorAt(end + 1)))) break;
      if (flow && this.indicatorAt(end)) break;
    }
    this.at = end;
    while (end > start && this.blankAt(end - 1)) end--;
    return text.slice(start, end);
  }

  protected indicatorAt(at: number): boolean {
    const code = this.text.charCodeAt(at);
    return code === Code.COMMA || code === Code.OPEN_LIST || code === Code.CLOSE_LIST || code === Code.OPEN_MAP || code === Code.CLOSE_MAP;
  }
}
