/** A growing buffer for the programs that native/nftables_program.h describes. Integers are little-endian. */
export class ProgramWriter {
  #bytes = new Uint8Array(1024);
  #view = new DataView(this.#bytes.buffer);
  #size = 0;

  /** What was written so far; valid until the next write. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#size);
  }

  /** Takes `count` zero bytes and returns where they begin; fill them through {@link buffer} or {@link view}. */
  reserve(count: number): number {
    const start = this.#size;
    this.#size += count;
    if (this.#size > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#size, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, start));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return start;
  }

  /** The whole buffer; another one after the next reserve(). */
  get buffer(): Uint8Array {
    return this.#bytes;
  }

  get view(): DataView {
    return this.#view;
  }

  u8(value: number): void {
    const at = this.reserve(1);
    this.#bytes[at] = value;
  }

  u16(value: number): void {
    const at = this.reserve(2);
    this.#view.setUint16(at, value, true);
  }

  u32(value: number): void {
    const at = this.reserve(4);
    this.#view.setUint32(at, value, true);
  }

  i32(value: number): void {
    const at = this.reserve(4);
    this.#view.setInt32(at, value, true);
  }

  u64(value: bigint): void {
    const at = this.reserve(8);
    this.#view.setBigUint64(at, value, true);
  }

  copy(bytes: Uint8Array): void {
    const at = this.reserve(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** u16 length and UTF-8 bytes; the caller has checked that they are fewer than 65,536. */
  string(text: string): void {
    // Names are ASCII nearly always, and a loop is faster than TextEncoder for short ones.
    const at = this.reserve(2 + text.length);
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) {
        this.#size = at;
        this.#encoded(text);
        return;
      }
      this.#bytes[at + 2 + i] = code;
    }
    this.#view.setUint16(at, text.length, true);
  }

  #encoded(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u16(bytes.length);
    this.copy(bytes);
  }
}
