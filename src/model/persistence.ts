/** The part of `ipvsOptions` that says for how long a client keeps its backend. */
import type { IpvsOptionsInput } from './config-schema.ts';
import type { Tell } from './options.ts';

export interface Persistence {
  readonly persistenceSeconds?: number;
  readonly persistencePrefix?: number;
}

/** As ipvsadm has it: 31 days. The kernel's own limit is where seconds times HZ leave 32 bits. */
export const longestPersistence = 31 * 86_400;
const widest = { 4: 32, 6: 128 } as const;

/** Seconds; 0: not persistent. */
function normaliseSeconds(seconds: number, tell: Tell): number {
  const within = Math.min(Math.max(0, seconds), longestPersistence);
  if (within !== seconds) {
    tell('coercion', 'persistenceSeconds', `must be 0 to ${longestPersistence} seconds; ${within} is used instead of ${seconds}`);
  }
  return within;
}

/** @param family of the VIP: a prefix length is one of its addresses */
export function normalisePersistence(options: IpvsOptionsInput, family: 4 | 6, tell: Tell): Persistence {
  const seconds = normaliseSeconds(options.persistenceSeconds ?? 0, tell);
  const prefix = options.persistencePrefix;
  if (seconds === 0) {
    if (prefix !== undefined) tell('coercion', 'persistencePrefix', 'means nothing without persistenceSeconds; it is left out');
    return {};
  }
  const most = widest[family];
  if (prefix !== undefined && (prefix < 1 || prefix > most)) {
    tell('coercion', 'persistencePrefix', `must be 1 to ${most}, not ${prefix}; each client counts by itself`);
    return { persistenceSeconds: seconds };
  }
  // A prefix of all bits is what the kernel does without one, and how it says so: absent, so that both compare equal.
  return prefix === undefined || prefix === most
    ? { persistenceSeconds: seconds }
    : { persistenceSeconds: seconds, persistencePrefix: prefix };
}
