/** One watch, from its request to its end. */
import { verbAndResource, type ApiResource, type KubernetesApi } from '../../kubernetes/api.ts';
import type { Clock, Random, Timer } from '../../model/clock.ts';
import { broken, refusal, WatchFailure } from './retry.ts';

/** What to follow, and with what. */
export interface Following {
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly random: Random;
  readonly resource: ApiResource;
  readonly namespace?: string;
  /** Selectors. */
  readonly query?: Readonly<Record<string, string>>;
}

/** A server sends a bookmark about every minute (k8s.io/apiserver, bookmarkFrequency): silence beyond that is a dead connection. */
export const idleMilliseconds = 90_000;
/** A watch that ends sooner is a failure: opening it anew at once would be a loop without a rest. Milliseconds. */
export const shortestWatch = 1000;

/** Calls back once nothing was heard for a time; one timer, however much is heard. */
class Silence {
  readonly #clock: Clock;
  readonly #onSilent: () => void;
  #heard: number;
  #timer: Timer;
  fell = false;

  constructor(clock: Clock, onSilent: () => void) {
    this.#clock = clock;
    this.#onSilent = onSilent;
    this.#heard = clock.now();
    this.#timer = clock.after(idleMilliseconds, () => this.#look());
  }

  heard(): void {
    this.#heard = this.#clock.now();
  }

  #look(): void {
    const rest = this.#heard + idleMilliseconds - this.#clock.now();
    if (rest > 0) {
      this.#timer = this.#clock.after(rest, () => this.#look());
      return;
    }
    this.fell = true;
    this.#onSilent();
  }

  end(): void {
    this.#timer.cancel();
  }
}

/**
 * Hands every document to `onDocument`, until the server ends the watch in good order or the signal aborts.
 * @throws WatchFailure for every other end, and what `onDocument` throws
 */
export async function runWatch(
  following: Following,
  resourceVersion: string,
  signal: AbortSignal,
  hooks: { onOpen: () => void; onDocument: (document: unknown) => void },
): Promise<void> {
  const { api, clock, random, resource, namespace, query } = following;
  const what = verbAndResource('watch', resource);
  const connection = new AbortController();
  const stop = (): void => connection.abort(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  const silence = new Silence(clock, () => connection.abort());
  const opened = clock.now();
  const failure = (error: unknown): WatchFailure =>
    silence.fell ? new WatchFailure(`${what}: nothing was heard for ${idleMilliseconds / 1000} s`, 'resume') : broken(what, error);
  try {
    const stream = await api
      .stream({
        ...{ method: 'GET', resource, idleMilliseconds, signal: connection.signal },
        ...(namespace === undefined ? {} : { namespace }),
        query: {
          ...{ ...query, watch: '1', allowWatchBookmarks: 'true', resourceVersion },
          // Spread, so that the watches of many agents do not end in the same minute.
          timeoutSeconds: String(300 + Math.floor(300 * random())),
        },
      })
      .catch((error: unknown) => {
        throw failure(error);
      });
    if (stream.refused !== undefined) throw refusal(what, stream.refused);
    hooks.onOpen();
    const documents = stream.documents[Symbol.asyncIterator]();
    try {
      for (;;) {
        const step = await documents.next().catch((error: unknown) => {
          throw failure(error);
        });
        if (signal.aborted) return;
        if (step.done === true) break;
        silence.heard();
        hooks.onDocument(step.value);
      }
    } finally {
      connection.abort();
      // It is over: how the stream takes that says nothing any more.
      await documents.return?.().catch(() => undefined);
    }
    if (silence.fell) throw failure(undefined);
    if (clock.now() - opened < shortestWatch) throw new WatchFailure(`${what}: the server ended it at once`, 'resume', { answered: true });
  } finally {
    silence.end();
    signal.removeEventListener('abort', stop);
    connection.abort();
  }
}
