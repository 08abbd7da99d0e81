/** One open watch of the fake API server: what it sends, and the ways in which it can go wrong. */
import { ApiTransportError, type ApiStream } from '../../src/kubernetes/api.ts';
import type { Clock, Timer } from '../../src/model/clock.ts';
import { statusBody } from './faults.ts';
import type { Matcher, StoreEvent } from './store.ts';

type Step = { readonly document: unknown } | { readonly end: true } | { readonly error: Error };

export interface FakeWatchOptions {
  readonly clock: Clock;
  readonly resource: string;
  readonly matches: Matcher;
  readonly bookmarks: boolean;
  readonly timeoutSeconds: number;
  readonly idleMilliseconds: number;
  readonly signal: AbortSignal | undefined;
  /** The newest revision of the store. */
  readonly revision: () => number;
  readonly onClosed: () => void;
}

/** k8s.io/apiserver sends bookmarks about this often. */
const bookmarkMilliseconds = 60_000;

export class FakeWatch implements AsyncIterator<unknown, undefined> {
  readonly resource: string;
  readonly #options: FakeWatchOptions;
  readonly #steps: Step[] = [];
  #wake: (() => void) | undefined;
  #closed = false;
  /** Nothing goes out any more, though the connection looks alive. */
  #silent = false;
  #duplicates = 0;
  #reorder = 0;
  readonly #held: unknown[] = [];
  #last: unknown;
  readonly #timers: Timer[] = [];
  #idle: Timer | undefined;

  constructor(options: FakeWatchOptions) {
    this.#options = options;
    this.resource = options.resource;
    const { clock, signal } = options;
    this.#timers.push(clock.after(options.timeoutSeconds * 1000, () => this.end()));
    if (options.bookmarks) this.#bookmarkLater();
    this.#touch();
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  readonly #onAbort = (): void => {
    // As the real client: nothing that was on its way arrives after an abort.
    this.#steps.length = 0;
    this.#finish({ error: new ApiTransportError('ABORT_ERR', 'the request was aborted') });
  };

  get stream(): ApiStream {
    return { refused: undefined, documents: { [Symbol.asyncIterator]: () => this } };
  }

  #bookmarkLater(): void {
    this.#timers.push(
      this.#options.clock.after(bookmarkMilliseconds, () => {
        this.bookmark();
        this.#bookmarkLater();
      }),
    );
  }

  /** The client's own watchdog on bytes. */
  #touch(): void {
    this.#idle?.cancel();
    this.#idle = this.#options.clock.after(this.#options.idleMilliseconds, () =>
      this.#finish({ error: new ApiTransportError('ETIMEDOUT', 'nothing was received for too long') }),
    );
  }

  #push(step: Step): void {
    if (this.#closed || this.#silent) return;
    this.#steps.push(step);
    this.#touch();
    this.#wake?.();
  }

  send(document: unknown): void {
    this.#push({ document });
  }

  /** An event of the store, as this watch's selectors let it be seen. */
  event({ type, object, previous }: StoreEvent): void {
    const { matches } = this.#options;
    const before = previous !== undefined && matches(previous);
    const after = type !== 'DELETED' && matches(object);
    if (!before && !after) return;
    const seen = before && after ? 'MODIFIED' : after ? 'ADDED' : 'DELETED';
    this.#emit({ type: seen, object });
  }

  #emit(document: unknown): void {
    if (this.#reorder > 0) {
      this.#held.push(document);
      this.#reorder -= 1;
      if (this.#reorder === 0) this.#release();
      return;
    }
    this.send(document);
    for (; this.#duplicates > 0; this.#duplicates -= 1)
      this.send(this.#duplicates % 2 === 1 && this.#last !== undefined ? this.#last : document);
    this.#last = document;
  }

  /** What was held back to be sent in another order goes out, last first. */
  #release(): void {
    this.#reorder = 0;
    while (this.#held.length > 0) this.send(this.#held.pop());
  }

  bookmark(revision = this.#options.revision()): void {
    this.#release();
    this.send({ type: 'BOOKMARK', object: { kind: 'Bookmark', metadata: { resourceVersion: String(revision) } } });
  }

  /** An ERROR event, and the end. */
  error(code: number, message = 'scripted'): void {
    this.#release();
    this.send({ type: 'ERROR', object: statusBody(code, message) });
    this.end();
  }

  /** The next `count` events come in reverse order. */
  reorder(count: number): void {
    this.#reorder = count;
  }

  /** The next event comes `count` times more; every other of these is the event before it. */
  duplicate(count: number): void {
    this.#duplicates = count;
  }

  /** Half-open: the peer is gone and nobody said so. What was on its way is lost. */
  silence(): void {
    this.#release();
    this.#silent = true;
  }

  end(): void {
    if (this.#silent) return;
    this.#release();
    this.#finish({ end: true });
  }

  break(code = 'ECONNRESET'): void {
    if (!this.#silent) this.#release();
    this.#finish({ error: new ApiTransportError(code, `the connection broke (${code})`) });
  }

  #finish(step: Step): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#steps.push(step);
    for (const timer of this.#timers) timer.cancel();
    this.#idle?.cancel();
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#options.onClosed();
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<unknown, undefined>> {
    while (this.#steps.length === 0) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
    // The last step stays: whoever asks again gets the same end.
    const step = this.#closed && this.#steps.length === 1 ? this.#steps[0] : this.#steps.shift();
    if (step === undefined || 'end' in step) return { done: true, value: undefined };
    if ('error' in step) throw step.error;
    return { done: false, value: step.document };
  }

  return(): Promise<IteratorResult<unknown, undefined>> {
    this.#finish({ end: true });
    return Promise.resolve({ done: true, value: undefined });
  }
}
