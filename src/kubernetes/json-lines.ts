/** A watch is one JSON document per line. */

const newline = 0x0a;

export class LineTooLongError extends Error {
  override readonly name = 'LineTooLongError';
}

/**
 * Takes bytes as they come, cut anywhere, and gives back whole lines. They become text only then, so a character that
 * was cut in two is whole again. Each byte is looked at once, however many pieces a line comes in.
 */
export class LineSplitter {
  readonly #limit: number;
  #pieces: Buffer[] = [];
  #length = 0;

  /** @param limit longest line, bytes */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * The lines that end in this chunk, without the empty ones.
   * @throws LineTooLongError, also for a line that has not ended yet
   */
  *push(chunk: Buffer): Generator<string, void, undefined> {
    let start = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      const line = this.#take(chunk.subarray(start, end));
      start = end + 1;
      if (line !== '') yield line;
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start));
  }

  /** What came after the last newline; "" when nothing did. */
  rest(): string {
    return this.#take(Buffer.alloc(0));
  }

  #keep(piece: Buffer): void {
    this.#length += piece.length;
    if (this.#length > this.#limit) throw new LineTooLongError(`a line is longer than ${this.#limit} bytes`);
    this.#pieces.push(piece);
  }

  #take(last: Buffer): string {
    this.#keep(last);
    const line = this.#pieces.length === 1 ? last : Buffer.concat(this.#pieces, this.#length);
    this.#pieces = [];
    this.#length = 0;
    return line.toString('utf8').trim();
  }
}
