/** Where the cluster states of an agent come from: opened once, and for Kubernetes also the way back. */
import type { KubernetesApi } from '../kubernetes/api.ts';
import type { Clock, Random, Timer } from '../model/clock.ts';
import type { Problem, Publication, Scheduler, Source } from '../model/cluster.ts';
import type { KubernetesDocument } from '../observe/agent-document.ts';
import type { Log } from '../observe/log.ts';
import type { ReasonChange } from '../observe/reasons.ts';
import { FileSource } from '../sources/file.ts';
import type { Places } from './kubernetes.ts';
import type { AgentOptions, Mode } from './options.ts';

/** What an agent tells its cluster. Nothing here throws, and nothing waits for the cluster to answer. */
export interface Correspondent {
  /** Until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** All EndpointSlices up to `revision` are in the kernel; `pressing` when a director may wait for it. */
  programmed(revision: number, pressing: boolean): void;
  reason(change: ReasonChange): void;
  /** Undefined: the newest configuration is in force. */
  refused(problems: readonly Problem[] | undefined): void;
}

export interface Origin {
  /** For people: a file's name, or `ConfigMap namespace/name`. */
  readonly place: string;
  /** For one run; runs do not overlap. */
  source(): Source;
  readonly correspondent?: Correspondent;
  /** Absent where there is no Kubernetes. */
  readonly kubernetes?: {
    readonly api: KubernetesApi;
    readonly places: Places;
    /** For `status`. */
    document(): KubernetesDocument;
  };
  /** After which nothing of it runs. */
  close(): void;
}

export interface OriginParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What opening needs of an agent's options: `check` has no more than these. */
export type OriginOptions = Pick<
  AgentOptions,
  'source' | 'mode' | 'combined' | 'nodeName' | 'defaultListener' | 'agentNamespace' | 'events'
>;

/**
 * What virtual services without a scheduler of their own get, where that is not the usual one. Several directors share the
 * connections of a VIP, and a router may move one of these to another director: by mh each finds the same backend.
 */
export const schedulerOf = (mode: Mode): Scheduler | undefined => (mode === 'bgp' ? 'mh' : undefined);

/** Throws what the user can mend: a kubeconfig that cannot be read, a Pod without a service account. */
export async function openOrigin(options: OriginOptions, parts: OriginParts): Promise<Origin> {
  const { source, defaultListener, mode } = options;
  const defaultScheduler = schedulerOf(mode);
  if (source.kind === 'file') {
    const { file } = source;
    const { clock } = parts;
    return { place: file, source: () => new FileSource({ file, clock, defaultListener, defaultScheduler }), close: () => {} };
  }
  // The client costs memory and time to load: only those pay who use it.
  const { openKubernetes } = await import('./kubernetes.ts');
  return openKubernetes({ ...options, source }, parts);
}

/** The input was refused before any was accepted. */
export class InputRefusedError extends Error {
  override readonly name = 'InputRefusedError';
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('\n'));
    this.problems = problems;
  }
}

/** No whole state came in time; the message says what each watch waits for. */
export class SourceTimeoutError extends Error {
  override readonly name = 'SourceTimeoutError';

  constructor(place: string, milliseconds: number, source: Source) {
    const waiting = (source.status?.() ?? [])
      .filter(({ lists, error }) => lists === 0 || error !== null)
      .map(({ resource, error }) => `\n  ${resource}: ${error ?? 'no complete list yet'}`);
    super(`${place}: no whole state within ${milliseconds / 1000} s${waiting.join('')}`);
  }
}

/** How long `plan`, `check` and `--once` wait for the first whole state. */
export const firstStateMilliseconds = 30_000;

/** Runs a source just long enough to hear its first word, and no longer than the time limit. */
export async function firstPublication(
  origin: Pick<Origin, 'place' | 'source'>,
  clock: Clock,
  milliseconds: number = firstStateMilliseconds,
): Promise<Publication> {
  const stop = new AbortController();
  const source = origin.source();
  // Timers do not hold the process, and between two attempts to connect there is no socket that does.
  const alive = setInterval(() => {}, 3_600_000);
  let timer: Timer | undefined;
  try {
    return await new Promise((resolve, reject) => {
      timer = clock.after(milliseconds, () => reject(new SourceTimeoutError(origin.place, milliseconds, source)));
      source
        .run({ signal: stop.signal, onPublication: resolve, onRefused: (problems) => reject(new InputRefusedError(problems)) })
        .then(() => reject(new Error(`${origin.place}: the source ended without a word`)), reject);
    });
  } finally {
    clearInterval(alive);
    timer?.cancel();
    stop.abort();
  }
}
