/**
 * IP addresses between text and the 4 or 16 network-order bytes that the kernel keeps. The parser is
 * strict (no leading zeros in IPv4, no zone, no brackets, no blanks); the printer gives the one
 * canonical text of RFC 5952, so that text equality is address equality.
 */

/** 4 or 6; 0 where a text is no address. */
export type AddressFamily = 4 | 6;

const DOT = 0x2e;
const COLON = 0x3a;
const ZERO = 0x30;

/** 0..15 for a hexadecimal digit, -1 for any other character. */
function hexDigit(code: number): number {
  if (code >= ZERO && code <= 0x39) return code - ZERO;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Dotted quad in text[start..] to out[offset..offset+3]; false when it is anything else. */
function parseIpv4(text: string, start: number, out: Uint8Array, offset: number): boolean {
  // -1 before the first digit of a field.
  let octet = -1;
  let at = offset;
  for (let i = start; i < text.length; i++) {
    const digit = text.charCodeAt(i) - ZERO;
    if (digit >= 0 && digit <= 9) {
      // A leading zero is octal to some C libraries (inet_aton) and decimal to others: refused.
      if (octet === 0) return false;
      octet = octet < 0 ? digit : octet * 10 + digit;
      if (octet > 255) return false;
    } else {
      if (digit !== DOT - ZERO || octet < 0 || at === offset + 3) return false;
      out[at++] = octet;
      octet = -1;
    }
  }
  if (at !== offset + 3 || octet < 0) return false;
  out[at] = octet;
  return true;
}

/** RFC 4291 section 2.2, all three forms, to out[offset..offset+15]. */
function parseIpv6(text: string, out: Uint8Array, offset: number): boolean {
  let at = 0;
  let written = 0;
  // Byte position of "::", -1 while none was seen.
  let gap = -1;
  if (text.charCodeAt(0) === COLON) {
    if (text.charCodeAt(1) !== COLON) return false;
    gap = 0;
    at = 2;
  }
  while (at < text.length) {
    if (written === 16) return false;
    let group = 0;
    let end = at;
    for (; end < text.length; end++) {
      const digit = hexDigit(text.charCodeAt(end));
      if (digit < 0) break;
      group = group * 16 + digit;
    }
    if (end < text.length && text.charCodeAt(end) === DOT) {
      // The last 32 bits may be a dotted quad.
      if (written > 12 || !parseIpv4(text, at, out, offset + written)) return false;
      written += 4;
      break;
    }
    if (end === at || end - at > 4) return false;
    out[offset + written] = group >> 8;
    out[offset + written + 1] = group & 0xff;
    written += 2;
    if (end === text.length) break;
    if (text.charCodeAt(end) !== COLON) return false;
    at = end + 1;
    if (text.charCodeAt(at) === COLON) {
      if (gap >= 0) return false;
      gap = written;
      at++;
    } else if (at === text.length) {
      return false;
    }
  }
  if (gap < 0) return written === 16;
  // "::" stands for at least one group.
  if (written > 14) return false;
  const tail = written - gap;
  out.copyWithin(offset + 16 - tail, offset + gap, offset + written);
  out.fill(0, offset + gap, offset + 16 - tail);
  return true;
}

/**
 * Writes the bytes of `text` at `out[offset]`, 4 or 16 of them, and returns the family; 0 when the
 * text is no address (then the bytes there are undefined). Allocates nothing.
 */
export function writeAddress(text: string, out: Uint8Array, offset = 0): AddressFamily | 0 {
  // An IPv6 text ends the first attempt at its first colon or letter.
  if (parseIpv4(text, 0, out, offset)) return 4;
  return text.includes(':') && parseIpv6(text, out, offset) ? 6 : 0;
}

const scratch = new Uint8Array(16);

/** The 4 or 16 bytes of an address in network order; undefined when the text is no address. */
export function parseAddressBytes(text: string): Uint8Array | undefined {
  const family = writeAddress(text, scratch);
  return family === 0 ? undefined : scratch.slice(0, family === 4 ? 4 : 16);
}

const OCTETS: readonly string[] = Array.from({ length: 256 }, (_, octet) => String(octet));

function formatIpv4(bytes: Uint8Array, at: number): string {
  const octet = (k: number): string => OCTETS[bytes[at + k] ?? 0] ?? '';
  return `${octet(0)}.${octet(1)}.${octet(2)}.${octet(3)}`;
}

function formatIpv6(bytes: Uint8Array, at: number): string {
  const groups: number[] = [];
  for (let k = 0; k < 16; k += 2) groups.push(((bytes[at + k] ?? 0) << 8) | (bytes[at + k + 1] ?? 0));
  // RFC 5952 section 5: the well-known IPv4-mapped prefix is printed in mixed notation.
  if (groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0)) return `::ffff:${formatIpv4(bytes, at + 12)}`;
  // Section 4.2: the longest run of zero groups, at least two, the first of equals.
  let start = -1;
  let length = 1;
  for (let k = 0; k < 8; k++) {
    let end = k;
    while (end < 8 && groups[end] === 0) end++;
    if (end - k > length) {
      start = k;
      length = end - k;
    }
    if (end > k) k = end;
  }
  const text = groups.map((group) => group.toString(16));
  if (start < 0) return text.join(':');
  return `${text.slice(0, start).join(':')}::${text.slice(start + length).join(':')}`;
}

/** Canonical text of the address whose bytes begin at `bytes[offset]`. */
export function formatAddressBytes(bytes: Uint8Array, family: AddressFamily, offset = 0): string {
  return family === 4 ? formatIpv4(bytes, offset) : formatIpv6(bytes, offset);
}

/** The canonical text of any accepted text; undefined when it is no address. */
export function canonicalAddress(text: string): string | undefined {
  const family = writeAddress(text, scratch);
  return family === 0 ? undefined : formatAddressBytes(scratch, family);
}

/** 4 or 6; undefined when the text is no address. */
export function addressFamily(text: string): AddressFamily | undefined {
  const family = writeAddress(text, scratch);
  return family === 0 ? undefined : family;
}
