/** Values of the flags about BGP: text first, then checked as the configuration is. */
import { z } from 'zod';
import { parseEndpoint } from '../announce/bgp/endpoint.ts';
import { defaultSyncId } from '../drivers/ipvs-sync.ts';
import { addressKind, canonicalAddress } from '../model/address.ts';
import { readPeer } from '../model/bgp-config.ts';
import type { BgpPeer } from '../model/bgp.ts';
import { CommunityError, parseCommunities } from '../model/communities.ts';
import { parseDuration } from '../model/duration.ts';
import { didYouMean, Report } from '../model/problems.ts';
import { interfaceName } from './values.ts';

const text = z.union([z.string(), z.number().transform(String)], { error: 'must be one value' });
const texts = z.union([text.transform((value) => [value]), z.array(text)], { error: 'must be a list' });

const wordsOf = (items: readonly string[], separator: string): string[] =>
  items.flatMap((item) => item.split(separator).map((word) => word.trim())).filter((word) => word !== '');

/** `host:port`, `[v6]:port`, `unix:/path`; canonical. */
export const endpoint = text.transform((value, context) => {
  try {
    return parseEndpoint(value).text;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    context.addIssue({ code: 'custom', message: 'must be host:port, [IPv6 address]:port or unix:/path' });
    return z.NEVER;
  }
});

/** Standard and large ones, several times or separated by commas. */
export const communities = texts.transform((items, context) => {
  try {
    return parseCommunities(wordsOf(items, ','));
  } catch (error) {
    if (!(error instanceof CommunityError)) throw error;
    context.addIssue({ code: 'custom', message: error.message });
    return z.NEVER;
  }
});

/** At most one of each family. */
export const nextHops = texts.transform((items, context) => {
  const hops: { 4?: string; 6?: string } = {};
  for (const word of wordsOf(items, ',')) {
    const address = canonicalAddress(word);
    if (address === undefined || addressKind(address) !== 'unicast') {
      context.addIssue({ code: 'custom', message: `${JSON.stringify(word)} is no address that a router could send packets to` });
      continue;
    }
    const family = address.includes(':') ? 6 : 4;
    if (hops[family] !== undefined) context.addIssue({ code: 'custom', message: `more than one next hop for IPv${family}` });
    hops[family] = address;
  }
  return hops;
});

export const routerId = text.transform((value, context) => {
  const address = canonicalAddress(value);
  if (address !== undefined && !address.includes(':') && address !== '0.0.0.0') return address;
  context.addIssue({ code: 'custom', message: 'must be written as an IPv4 address, and not 0.0.0.0' });
  return z.NEVER;
});

/** What stands before `=` in a neighbour, and the key of the configuration that it is. */
const peerWords = {
  asn: 'asn',
  multihop: 'multihop',
  'password-file': 'passwordFile',
  hold: 'holdSeconds',
  keepalive: 'keepaliveSeconds',
  'connect-retry': 'connectRetrySeconds',
  'graceful-restart': 'gracefulRestartSeconds',
  bfd: 'transmitMilliseconds',
  'bfd-multiplier': 'multiplier',
  families: 'families',
} as const;

type PeerWord = keyof typeof peerWords;
const isPeerWord = (word: string): word is PeerWord => Object.hasOwn(peerWords, word);
const numbers: ReadonlySet<PeerWord> = new Set(['asn', 'multihop', 'bfd-multiplier']);

/** As the configuration would have it; what cannot be read stays as it is, so that the refusal names it. */
function peerValue(word: PeerWord, value: string): unknown {
  if (word === 'password-file') return value;
  if (word === 'families') return value.split('+').map(Number);
  if (numbers.has(word)) return /^\d{1,10}$/.test(value) ? Number(value) : value;
  const milliseconds = parseDuration(value);
  return milliseconds === undefined ? value : word === 'bfd' ? milliseconds : milliseconds / 1000;
}

/** Words of a refusal name keys of the configuration; here they are other ones. */
function inWords(message: string, path: string): string {
  const key = path.split('.').pop() ?? '';
  const word = Object.entries(peerWords).find(([, right]) => right === key)?.[0] ?? key;
  return word === '' || word === 'peer' ? message : `${word} ${message}`;
}

function peerOf(words: string, complain: (message: string) => void): BgpPeer | undefined {
  const [address = '', ...options] = words.split(',').map((word) => word.trim());
  const input: Record<string, unknown> = { address };
  const bfd: Record<string, unknown> = {};
  const seen = new Set<string>();
  for (const option of options) {
    const [word = '', value] = option.split(/=(.*)/s, 2).map((part) => part.trim());
    if (seen.has(word)) complain(`${address}: ${word} is given twice`);
    seen.add(word);
    if (word === 'passive' && value === undefined) input['passive'] = true;
    else if (!isPeerWord(word))
      complain(`${address}: unknown ${JSON.stringify(word)}${didYouMean(word, [...Object.keys(peerWords), 'passive'])}`);
    else if (value === undefined || value === '') complain(`${address}: ${word} needs a value, such as ${word}=…`);
    else if (word === 'bfd' || word === 'bfd-multiplier') bfd[peerWords[word]] = peerValue(word, value);
    else input[peerWords[word]] = peerValue(word, value);
  }
  if ('multiplier' in bfd && !('transmitMilliseconds' in bfd)) complain(`${address}: bfd-multiplier needs bfd beside it`);
  if (Object.keys(bfd).length > 0) input['bfd'] = bfd;
  const report = new Report();
  const peer = readPeer(input, ['peer'], report);
  for (const { path, message } of report.list('error')) complain(`${address}: ${inWords(message, path)}`);
  return peer;
}

/** Several times or separated by semicolons, because commas are within. */
export const peers = texts.transform((items, context) => {
  const found = new Map<string, BgpPeer>();
  const complain = (message: string): void => context.addIssue({ code: 'custom', message });
  for (const words of wordsOf(items, ';')) {
    const peer = peerOf(words, complain);
    if (peer === undefined) continue;
    if (found.has(peer.address)) complain(`${peer.address} is given twice`);
    found.set(peer.address, peer);
  }
  return [...found.values()];
});

/** `eth0`, `eth0,id=7`. */
export const connectionSync = text.transform((value, context) => {
  const [name, ...options] = value.split(',').map((part) => part.trim());
  const parsed = interfaceName.safeParse(name);
  const [option = `id=${defaultSyncId}`] = options;
  const syncId = Number(/^id=(\d{1,3})$/.exec(option)?.[1]);
  if (parsed.success && syncId >= 1 && syncId <= 255 && options.length < 2) return { interface: parsed.data, syncId };
  context.addIssue({ code: 'custom', message: 'must be INTERFACE or INTERFACE,id=N with N from 1 to 255' });
  return z.NEVER;
});
