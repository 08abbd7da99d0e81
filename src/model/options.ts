/**
 * `ipvsOptions` as IPVS understands them. Nothing is refused here: a value that is not understood is
 * replaced by what the virtual service does without it, and that is told.
 */
import type { Scheduler } from './cluster.ts';
import type { IpvsOptionsInput } from './config-schema.ts';
import { normaliseForwarding, type Forwarding } from './forwarding.ts';
import { normalisePersistence, type Persistence } from './persistence.ts';
import { didYouMean, quote } from './problems.ts';
import type { Severity } from './problems.ts';
import { nearest } from './suggest.ts';

export interface NormalisedOptions extends Forwarding, Persistence {
  readonly scheduler: Scheduler;
  readonly schedulerFlags: readonly (1 | 2 | 3)[];
  /** For the protocol UDP alone. */
  readonly onePacket?: true;
  readonly upperThreshold: number;
  readonly lowerThreshold: number;
}

/** What options are judged against. */
export interface OptionsContext {
  /** Of virtual services that name none. Default: wrr. */
  readonly defaultScheduler?: Scheduler | undefined;
  /** Of the VIP. */
  readonly family: 4 | 6;
  readonly udp: boolean;
}

/** @param severity `coercion` where the value now means something else, `warning` where it is only spelt better */
export type Tell = (severity: Exclude<Severity, 'error'>, key: keyof IpvsOptionsInput, message: string | (() => string)) => void;

/** All of Linux 6.1 (net/netfilter/ipvs/Kconfig). */
export const schedulers: readonly Scheduler[] = [
  ...(['rr', 'wrr', 'lc', 'wlc', 'dh', 'sh', 'mh'] as const),
  ...(['lblc', 'lblcr', 'sed', 'nq', 'fo', 'ovf', 'twos'] as const),
];
const usualScheduler: Scheduler = 'wrr';

/** IP_VS_SVC_F_SCHED_SH_FALLBACK is SCHED1, …_PORT is SCHED2 (linux/ip_vs.h); mh uses the same two. */
const flagNumbers: ReadonlyMap<string, 1 | 2 | 3> = new Map([
  ['flag-1', 1],
  ['flag-2', 2],
  ['flag-3', 3],
  ['sh-fallback', 1],
  ['sh-port', 2],
  ['mh-fallback', 1],
  ['mh-port', 2],
]);

/** Without any flags mh would break a client's connections over its ports whenever a node is full or gone. */
const flagsOfMh: readonly (1 | 2 | 3)[] = [1, 2];
const noFlags: readonly (1 | 2 | 3)[] = [];

function normaliseScheduler(text: string, defaultScheduler: Scheduler, tell: Tell): Scheduler {
  const word = text.trim().toLowerCase();
  const scheduler = schedulers.find((candidate) => candidate === word);
  if (scheduler !== undefined) {
    if (word !== text) tell('warning', 'scheduler', `${quote(text)} is read as ${quote(scheduler)}`);
    return scheduler;
  }
  if (word === '') return defaultScheduler;
  tell('coercion', 'scheduler', () => {
    const candidate = nearest(word, schedulers) ?? defaultScheduler;
    return `unknown scheduler ${quote(text)}, did you mean ${quote(candidate)}? ${quote(defaultScheduler)} is used`;
  });
  return defaultScheduler;
}

function normaliseFlags(text: string, scheduler: Scheduler, tell: Tell): readonly (1 | 2 | 3)[] {
  const words = text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
  const numbers = new Set<1 | 2 | 3>();
  const unknown: string[] = [];
  for (const word of words) {
    const number = flagNumbers.get(word.toLowerCase());
    if (number === undefined) unknown.push(word);
    else numbers.add(number);
  }
  const [first] = unknown;
  if (first !== undefined) {
    tell('coercion', 'flags', () => `unknown flag ${quote(first)}${didYouMean(first, flagNumbers.keys())}; it is left out`);
  }
  if (numbers.size === 0) return scheduler === 'mh' ? flagsOfMh : noFlags;
  return [...numbers].sort((a, b) => a - b);
}

/** Negative limits are 0; a lower limit that is not below the upper one switches both off. */
function normaliseThresholds(upper: number, lower: number, tell: Tell): { upperThreshold: number; lowerThreshold: number } {
  if (upper < 0) tell('coercion', 'uThreshold', `a threshold is not negative; 0 is used instead of ${upper}`);
  if (lower < 0) tell('coercion', 'lThreshold', `a threshold is not negative; 0 is used instead of ${lower}`);
  const limits = { upperThreshold: Math.max(0, upper), lowerThreshold: Math.max(0, lower) };
  if (limits.lowerThreshold < limits.upperThreshold) return limits;
  if (limits.lowerThreshold > 0) tell('coercion', 'lThreshold', `must be below uThreshold (${limits.upperThreshold}); no limit is set`);
  return { upperThreshold: 0, lowerThreshold: 0 };
}

/** IPVS schedules single datagrams (IP_VS_SVC_F_ONEPACKET) for UDP alone, whatever else the flag is set on. */
function normaliseOnePacket(wanted: boolean, udp: boolean, tell: Tell): { onePacket?: true } {
  if (wanted && udp) return { onePacket: true };
  if (wanted) tell('coercion', 'onePacket', 'is for UDP alone, which is not enabled here; it is left out');
  return {};
}

export function normaliseOptions(options: IpvsOptionsInput, context: OptionsContext, tell: Tell): NormalisedOptions {
  const { family, udp, defaultScheduler = usualScheduler } = context;
  const scheduler = normaliseScheduler(options.scheduler ?? '', defaultScheduler, tell);
  return {
    scheduler,
    schedulerFlags: normaliseFlags(options.flags ?? '', scheduler, tell),
    ...normaliseForwarding(options, tell),
    ...normalisePersistence(options, family, tell),
    ...normaliseOnePacket(options.onePacket ?? false, udp, tell),
    ...normaliseThresholds(options.uThreshold ?? 0, options.lThreshold ?? 0, tell),
  };
}

const defaults = new Map<Scheduler, NormalisedOptions>();

/** The same object for all virtual services without options of their own. */
export function defaultOptions(defaultScheduler: Scheduler = usualScheduler): NormalisedOptions {
  const known = defaults.get(defaultScheduler);
  if (known !== undefined) return known;
  const made = normaliseOptions({}, { family: 4, udp: false, defaultScheduler }, () => undefined);
  defaults.set(defaultScheduler, made);
  return made;
}
