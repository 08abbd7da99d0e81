/** The part of `ipvsOptions` that says how a packet gets from the director to a backend. */
import type { TunnelEncapsulation } from './cluster.ts';
import type { IpvsOptionsInput } from './config-schema.ts';
import type { Tell } from './options.ts';
import { didYouMean, quote } from './problems.ts';

export interface Forwarding {
  readonly forward: 'direct' | 'tunnel' | 'masquerade';
  readonly tunnel?: TunnelEncapsulation;
  readonly masqueradeSource?: boolean;
}

/** ipvsadm's letters, and words that need no looking up. Written exactly so: "I" has never been "i". */
const methods: ReadonlyMap<string, Forwarding['forward']> = new Map([
  ['', 'direct'],
  ['g', 'direct'],
  ['direct', 'direct'],
  ['i', 'tunnel'],
  ['tunnel', 'tunnel'],
  ['m', 'masquerade'],
  ['masquerade', 'masquerade'],
]);

const encapsulations: ReadonlyMap<string, TunnelEncapsulation['type']> = new Map([
  ['', 'ipip'],
  ['ipip', 'ipip'],
  ['gue', 'gue'],
  ['gre', 'gre'],
]);

/** IANA's port of Generic UDP Encapsulation; IPVS refuses a GUE destination without one. */
export const defaultGuePort = 6080;

function normaliseMethod(text: string, tell: Tell): Forwarding['forward'] {
  const method = methods.get(text);
  if (method !== undefined) return method;
  tell('coercion', 'forwardingMethod', () => {
    const words = [...methods.keys()].filter((word) => word !== '');
    return `unknown forwarding method ${quote(text)} (known: ${words.join(', ')}); "g", direct routing, is used`;
  });
  return 'direct';
}

function normaliseGuePort(port: number | undefined, tell: Tell): number {
  if (port === undefined || (port >= 1 && port <= 65_535)) return port ?? defaultGuePort;
  tell('coercion', 'tunnelPort', `a port is 1 to 65535; ${defaultGuePort} is used instead of ${port}`);
  return defaultGuePort;
}

/** Undefined for IP in IP, which is what a tunnel is unless something else is said. */
function normaliseEncapsulation({ tunnelType = '', tunnelPort }: IpvsOptionsInput, tell: Tell): TunnelEncapsulation | undefined {
  const type = encapsulations.get(tunnelType.trim().toLowerCase());
  if (type === undefined) {
    tell('coercion', 'tunnelType', () => {
      return `unknown tunnel type ${quote(tunnelType)}${didYouMean(tunnelType, ['ipip', 'gue', 'gre']) || ';'} "ipip" is used`;
    });
  }
  if (type === 'gue') return { type, port: normaliseGuePort(tunnelPort, tell) };
  if (tunnelPort !== undefined) tell('coercion', 'tunnelPort', 'only the tunnel type "gue" has a port; it is left out');
  return type === 'gre' ? { type } : undefined;
}

export function normaliseForwarding(options: IpvsOptionsInput, tell: Tell): Forwarding {
  const forward = normaliseMethod(options.forwardingMethod ?? '', tell);
  if (forward !== 'tunnel') {
    for (const key of ['tunnelType', 'tunnelPort'] as const) {
      if (options[key] !== undefined) tell('coercion', key, `the forwarding method is no tunnel ("i"); it is left out`);
    }
  }
  if (forward !== 'masquerade' && options.masqueradeSource !== undefined) {
    tell('coercion', 'masqueradeSource', 'the forwarding method is not masquerade ("m"); it is left out');
  }
  if (forward === 'masquerade') return { forward, masqueradeSource: options.masqueradeSource ?? true };
  if (forward === 'direct') return { forward };
  const tunnel = normaliseEncapsulation(options, tell);
  return tunnel === undefined ? { forward } : { forward, tunnel };
}
