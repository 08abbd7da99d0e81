/** Values of flags, whether typed, taken from the environment or read from a file: text first, then checked. */
import { z } from 'zod';
import { canonicalAddress, parsePrefix } from '../model/address.ts';
import { parseDuration } from '../model/duration.ts';
import { checkChainPrefix } from '../native/iptables-program.ts';

/** Text or number, as all three places may give it; text is what the rest of the chain gets. */
const text = z.union([z.string(), z.number().transform(String)], { error: 'must be one value' });

export const nonEmpty = text.pipe(z.string().trim().min(1, 'must not be empty'));

/** RFC 1123 labels with dots between, as Kubernetes names its objects; it ends up in a path of the API. */
export const objectName = text.pipe(
  z.string().regex(/^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/, 'is no name of a Kubernetes object'),
);

/** Linux: at most 15 characters (IFNAMSIZ), no slash, no space. */
export const interfaceName = text.pipe(
  z.string().regex(/^[^\s/:]{1,15}$/, 'is no interface name (1 to 15 characters, no space, slash or colon)'),
);

export const boolean = z.union([z.boolean(), z.enum(['true', 'false', '1', '0']).transform((word) => word === 'true' || word === '1')], {
  error: 'must be true or false',
});

export function integer(lowest: number, highest: number) {
  const message = `must be a whole number from ${lowest} to ${highest}`;
  return text
    .pipe(z.string().regex(/^\d+$/, message))
    .transform(Number)
    .refine((value) => value >= lowest && value <= highest, message);
}

export function duration(lowest: string, highest: string) {
  const [from, to] = [parseDuration(lowest) ?? 0, parseDuration(highest) ?? 0];
  return text.transform((value, context) => {
    const milliseconds = parseDuration(value);
    if (milliseconds !== undefined && milliseconds >= from && milliseconds <= to) return milliseconds;
    // Refused, never moved to the nearest bound: whoever asks for 1 ms must learn that it is not what happens.
    context.addIssue({ code: 'custom', message: `must be a time from ${lowest} to ${highest}, such as 90s or 2m` });
    return z.NEVER;
  });
}

export const prefix = text.transform((value, context) => {
  const parsed = parsePrefix(value);
  if (parsed !== undefined && !parsed.address.includes(':')) return parsed;
  context.addIssue({ code: 'custom', message: 'must be an IPv4 prefix such as 10.244.0.0/16' });
  return z.NEVER;
});

/** `address:port` or `[IPv6 address]:port`; `:port` alone: on all addresses. */
export const listen = text.transform((value, context) => {
  const [, bracketed, plain, digits = ''] = /^(?:\[([^\]]+)\]|([^:[\]]+))?:(\d{1,5})$/.exec(value.trim()) ?? [];
  const written = bracketed ?? plain;
  const host = written === undefined ? undefined : canonicalAddress(written);
  const port = Number(digits);
  const known = written === undefined || (host !== undefined && host.includes(':') === (bracketed !== undefined));
  if (known && port >= 1 && port <= 65_535) return { host, port };
  context.addIssue({ code: 'custom', message: 'must be :port, address:port or [IPv6 address]:port, such as 127.0.0.1:10234' });
  return z.NEVER;
});

/** `name=value`, several times or separated by commas. */
export const settings = z
  .union([text.transform((value) => [value]), z.array(text)], { error: 'must be name=value' })
  .transform((items, context) => {
    const pairs = new Map<string, string>();
    for (const item of items.flatMap((part) => part.split(',')).filter((part) => part.trim() !== '')) {
      const match = /^\s*([a-z0-9_]+)\s*=\s*(\S.*?)\s*$/.exec(item);
      if (match?.[1] === undefined || match[2] === undefined)
        context.addIssue({ code: 'custom', message: `${JSON.stringify(item)} is not name=value` });
      else pairs.set(match[1], match[2]);
    }
    return pairs;
  });

/** Ports, several times or separated by commas; 0 or nothing: none. */
export const ports = z
  .union([text.transform((value) => [value]), z.array(text)], { error: 'must be a port' })
  .transform((items, context) => {
    const words = items.flatMap((item) => item.split(',').map((word) => word.trim())).filter((word) => word !== '');
    for (const word of words) {
      if (!/^\d{1,5}$/.test(word) || Number(word) > 65_535)
        context.addIssue({ code: 'custom', message: `${JSON.stringify(word)} is not a port (1 to 65535, or 0 for none)` });
    }
    const numbers = [...new Set(words.map(Number))];
    if (numbers.length > 1 && numbers.includes(0)) context.addIssue({ code: 'custom', message: '0 means none and stands alone' });
    return numbers.filter((port) => port !== 0);
  });

/** What `-SVC-` and a hash take of the 28 characters that the kernel allows (docs/iptables.md). */
const longestChainPrefix = 28 - 21;

export const chainPrefix = text.transform((value, context) => {
  try {
    checkChainPrefix(value);
    if (value.length <= longestChainPrefix) return value;
    context.addIssue({ code: 'custom', message: `has at most ${longestChainPrefix} characters` });
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message.replace(/^chainPrefix: /, '').replace(/, got .*$/, '') });
  }
  return z.NEVER;
});

/** One mode, or both in either order. A director among several cannot serve pods of its own yet. */
export const mode = text.transform((value, context) => {
  const words = [...new Set(value.split(',').map((word) => word.trim()))].sort();
  const right = (['director', 'bgp', 'realserver', 'director,realserver'] as const).find((one) => one === words.join(','));
  if (right !== undefined) return right;
  if (words.join(',') === 'bgp,realserver') {
    context.addIssue({ code: 'custom', message: 'must be bgp alone: such a director does not serve pods of its own node yet' });
    return z.NEVER;
  }
  context.addIssue({ code: 'custom', message: 'must be director, bgp, realserver or director,realserver' });
  return z.NEVER;
});

/** `namespace/service:portName` */
export const listenerTarget = text.transform((value, context) => {
  const match = /^([^/:\s]+)\/([^/:\s]+):([^/:\s]*)$/.exec(value);
  if (match?.[1] !== undefined && match[2] !== undefined) return { namespace: match[1], service: match[2], portName: match[3] ?? '' };
  context.addIssue({ code: 'custom', message: 'must be namespace/service:portName' });
  return z.NEVER;
});

export const choice = <const Words extends readonly [string, ...string[]]>(words: Words) =>
  z.enum(words, { error: `must be one of ${words.join(', ')}` });

export const anything = z.unknown();
