/** Protocol Buffers without generated code: fields by number, what is unknown is skipped, what is malformed is one kind of error. */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

const text = new TextDecoder();

/** The daemon sent what is no such message. */
export class MessageError extends Error {
  override readonly name = 'MessageError';
}

/**
 * A field as it is announced: its number and how it is encoded. A field of ours that comes with another encoding has another
 * tag, and so is skipped as unknown, as the language asks for.
 */
export const varint = (field: number): number => field * 8 + WireType.Varint;
export const delimited = (field: number): number => field * 8 + WireType.LengthDelimited;

/**
 * Calls `take` for every field; it reads the field and returns true, or returns false and has read nothing.
 * @throws MessageError
 */
export function readMessage(bytes: Uint8Array, take: (tag: number, reader: BinaryReader) => boolean): void {
  try {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (!take(field * 8 + type, reader)) reader.skip(type, field);
    }
  } catch (error) {
    if (error instanceof MessageError) throw error;
    throw new MessageError(error instanceof Error ? error.message : 'malformed', { cause: error });
  }
}

/**
 * A whole message at hand, for those that are small and few. A field that is absent, or encoded otherwise than it is asked for,
 * reads as the language's default: 0, no text, an empty message. Of several values the last one counts.
 */
export class Fields {
  readonly #numbers = new Map<number, number>();
  readonly #bytes = new Map<number, Uint8Array[]>();

  /** @throws MessageError */
  constructor(bytes: Uint8Array) {
    readMessage(bytes, (tag, reader) => {
      const field = Math.floor(tag / 8);
      if (tag === varint(field)) {
        const value = Number(reader.int64());
        // Counters and seconds: what a number cannot hold exactly is of no use to anybody.
        if (!Number.isSafeInteger(value)) throw new MessageError(`field ${field} is beyond 2^53`);
        this.#numbers.set(field, value);
      } else if (tag === delimited(field)) {
        const values = this.#bytes.get(field) ?? [];
        this.#bytes.set(field, values);
        values.push(reader.bytes());
      } else return false;
      return true;
    });
  }

  number(field: number): number {
    return this.#numbers.get(field) ?? 0;
  }

  flag(field: number): boolean {
    return this.number(field) !== 0;
  }

  /** Invalid UTF-8 becomes replacement characters. */
  text(field: number): string {
    return text.decode(this.#bytes.get(field)?.at(-1));
  }

  message(field: number): Fields {
    return this.messageOrNone(field) ?? new Fields(new Uint8Array());
  }

  messageOrNone(field: number): Fields | undefined {
    const bytes = this.#bytes.get(field)?.at(-1);
    return bytes && new Fields(bytes);
  }

  messages(field: number): Fields[] {
    return (this.#bytes.get(field) ?? []).map((bytes) => new Fields(bytes));
  }
}

/** Builds a message; what has the value that a reader assumes anyway is left out. */
export class MessageWriter {
  readonly #writer = new BinaryWriter();

  number(field: number, value: number): this {
    if (value !== 0) this.#writer.tag(field, WireType.Varint).uint32(value);
    return this;
  }

  /** For `int32`: a negative number takes ten bytes, and is not what {@link number} takes. */
  signed(field: number, value: number): this {
    if (value !== 0) this.#writer.tag(field, WireType.Varint).int32(value);
    return this;
  }

  flag(field: number, value: boolean): this {
    if (value) this.#writer.tag(field, WireType.Varint).bool(true);
    return this;
  }

  text(field: number, value: string): this {
    if (value !== '') this.#writer.tag(field, WireType.LengthDelimited).string(value);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.#writer.tag(field, WireType.LengthDelimited).bytes(value);
    return this;
  }

  /** Written also when it is empty: that a message is there says something. */
  message(field: number, value: MessageWriter): this {
    return this.bytes(field, value.finish());
  }

  finish(): Uint8Array {
    return this.#writer.finish();
  }
}
