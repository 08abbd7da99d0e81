/** BGP communities as people write them: `65000:100`, `65000:1:2`, a number, a word. */
import { didYouMean, quote } from './problems.ts';
import type { LargeCommunity, StandardCommunity } from './bgp.ts';

/** IANA, "Border Gateway Protocol (BGP) Well-known Communities". The first word of a value is the one that is printed. */
const wellKnown: ReadonlyMap<string, StandardCommunity> = new Map([
  ['graceful-shutdown', 0xffff0000], // RFC 8326
  ['planned-shut', 0xffff0000], // what gobgp's command line calls it
  ['accept-own', 0xffff0001], // RFC 7611
  ['llgr-stale', 0xffff0006], // RFC 9494
  ['no-llgr', 0xffff0007], // RFC 9494
  ['blackhole', 0xffff029a], // RFC 7999
  ['no-export', 0xffffff01], // RFC 1997
  ['no-advertise', 0xffffff02], // RFC 1997
  ['no-export-subconfed', 0xffffff03], // RFC 1997
  ['local-as', 0xffffff03], // what many routers call it
  ['no-peer', 0xffffff04], // RFC 3765
]);

const words: ReadonlyMap<StandardCommunity, string> = new Map([...wellKnown].reverse().map(([word, value]) => [value, word]));

/** A word that is no community. */
export class CommunityError extends Error {
  override readonly name = 'CommunityError';
  /** As it was written. */
  readonly word: string;
  /** Without the word. */
  readonly reason: string;

  constructor(word: string, reason: string) {
    super(`${quote(word)} is no community: ${reason}`);
    this.word = word;
    this.reason = reason;
  }
}

export type Community =
  { readonly kind: 'standard'; readonly value: StandardCommunity } | { readonly kind: 'large'; readonly value: LargeCommunity };

const halfLimit = 0xffff;
const wholeLimit = 0xffffffff;

function part(word: string, digits: string, limit: number): number {
  // No leading zeros, RFC 8092 section 5; the same for the others, so that a community has one spelling.
  if (!/^(?:0|[1-9][0-9]{0,9})$/.test(digits)) throw new CommunityError(word, `${quote(digits)} is no decimal number`);
  const value = Number(digits);
  if (value > limit) throw new CommunityError(word, `${digits} is above ${limit}`);
  return value;
}

/**
 * `a:b` (RFC 1997, 0 to 65535 each), `a:b:c` (RFC 8092, 0 to 4294967295 each), the number that `a:b` is, or a well-known word
 * (`no-export`, `NO_EXPORT`).
 * @throws CommunityError
 */
export function parseCommunity(text: string): Community {
  const parts = text.split(':');
  const [first = '', second, third] = parts;
  if (second === undefined) {
    if (/^[0-9]/.test(text)) return { kind: 'standard', value: part(text, text, wholeLimit) };
    const value = wellKnown.get(text.toLowerCase().replaceAll('_', '-'));
    if (value !== undefined) return { kind: 'standard', value };
    throw new CommunityError(text, `neither a:b, a:b:c, a number nor a well-known word${didYouMean(text.toLowerCase(), wellKnown.keys())}`);
  }
  if (third === undefined) {
    // Multiplied: a shift would make numbers from 32768:0 on negative.
    return { kind: 'standard', value: part(text, first, halfLimit) * 0x10000 + part(text, second, halfLimit) };
  }
  if (parts.length > 3) throw new CommunityError(text, 'more than three numbers');
  return { kind: 'large', value: [part(text, first, wholeLimit), part(text, second, wholeLimit), part(text, third, wholeLimit)] };
}

/** By number; for `sort`. */
export function compareLargeCommunities(left: LargeCommunity, right: LargeCommunity): number {
  return left[0] - right[0] || left[1] - right[1] || left[2] - right[2];
}

/**
 * A list of both kinds, each in order of its numbers and unique.
 * @throws CommunityError for the first word that is none
 */
export function parseCommunities(texts: Iterable<string>): {
  readonly communities: readonly StandardCommunity[];
  readonly largeCommunities: readonly LargeCommunity[];
} {
  const communities = new Set<StandardCommunity>();
  const largeCommunities = new Map<string, LargeCommunity>();
  for (const text of texts) {
    const community = parseCommunity(text);
    if (community.kind === 'standard') communities.add(community.value);
    else largeCommunities.set(formatLargeCommunity(community.value), community.value);
  }
  return {
    communities: [...communities].sort((a, b) => a - b),
    largeCommunities: [...largeCommunities.values()].sort(compareLargeCommunities),
  };
}

/** The word where there is one, `a:b` otherwise. */
export function formatCommunity(value: StandardCommunity): string {
  return words.get(value) ?? `${Math.floor(value / 0x10000)}:${value % 0x10000}`;
}

/** `a:b:c` */
export function formatLargeCommunity(value: LargeCommunity): string {
  return value.join(':');
}
