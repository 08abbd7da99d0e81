/** What native/iptables_program.cc lists, as objects. */
import { formatAddressBytes } from './address-bytes.ts';
import { ProtocolError } from './errors.ts';
import type {
  IptablesFamily,
  IptablesListing,
  IptablesMark,
  IptablesPrefix,
  IptablesRule,
  IptablesTarget,
  ListedIptablesRule,
} from './iptables-types.ts';

/** enum RuleField, as in iptables-program.ts. */
const FIELDS = ['source', 'destination', 'protocol', 'port', 'comment', 'probability', 'mark', 'opening'] as const;

const text = new TextDecoder();

class ListingReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #family: 4 | 6;
  #at = 0;

  constructor(buffer: ArrayBuffer, family: IptablesFamily) {
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    this.#family = family === 'ip' ? 4 : 6;
  }

  listing(): IptablesListing {
    const present = this.#u8() !== 0;
    const jumps = this.#many(() => ({ from: this.#string(), ...this.#listed() }));
    const chains = this.#many(() => ({ name: this.#string(), rules: this.#many(() => this.#listed()) }));
    if (this.#at !== this.#bytes.length) throw new ProtocolError(`iptables.list: ${this.#bytes.length - this.#at} bytes left over`);
    return { present, jumps, chains };
  }

  #many<T>(read: () => T): T[] {
    const items: T[] = [];
    for (let left = this.#u32(); left > 0; left--) items.push(read());
    return items;
  }

  #listed(): ListedIptablesRule {
    const packets = this.#u64();
    const bytes = this.#u64();
    return this.#u8() === 0
      ? { rule: undefined, foreign: this.#string(), packets, bytes }
      : { rule: this.#rule(), foreign: undefined, packets, bytes };
  }

  #rule(): IptablesRule {
    const fields = this.#u16();
    const rule: Record<string, unknown> = {};
    for (const [bit, field] of FIELDS.entries()) {
      if ((fields & (1 << bit)) === 0) continue;
      rule[field] = this.#field(field);
    }
    return { ...rule, target: this.#target() };
  }

  #field(field: (typeof FIELDS)[number]): unknown {
    switch (field) {
      case 'source':
      case 'destination':
        return this.#prefix();
      case 'protocol':
        return this.#u8();
      case 'port':
        return this.#u16();
      case 'comment':
        return this.#string();
      case 'probability':
        return this.#u32() / 2 ** 31;
      case 'mark':
        return this.#mark();
      case 'opening':
        return true;
    }
  }

  #prefix(): IptablesPrefix {
    const address = this.#address();
    const length = this.#u8();
    return this.#u8() === 0 ? { address, length } : { address, length, inverted: true };
  }

  #mark(): IptablesMark {
    return { value: this.#u32(), mask: this.#u32() };
  }

  #target(): IptablesTarget {
    switch (this.#u8()) {
      case 0:
        return { kind: 'jump', chain: this.#string() };
      case 1:
        return { kind: 'setMark', ...this.#mark() };
      case 2: {
        const address = this.#address();
        const port = this.#u16();
        return port === 0 ? { kind: 'dnat', address } : { kind: 'dnat', address, port };
      }
      default:
        return { kind: 'masquerade' };
    }
  }

  #address(): string {
    const at = this.#take(this.#family === 4 ? 4 : 16);
    return formatAddressBytes(this.#bytes, this.#family, at);
  }

  #string(): string {
    const length = this.#u16();
    const at = this.#take(length);
    return text.decode(this.#bytes.subarray(at, at + length));
  }

  #take(size: number): number {
    const at = this.#at;
    this.#at += size;
    if (this.#at > this.#bytes.length) throw new ProtocolError('iptables.list: the listing ends early');
    return at;
  }

  #u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  #u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  #u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  #u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }
}

export function decodeIptables(family: IptablesFamily, buffer: ArrayBuffer): IptablesListing {
  return new ListingReader(buffer, family).listing();
}
