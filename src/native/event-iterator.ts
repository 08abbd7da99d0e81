/** Ends a subscription; idempotent. */
export type Unsubscribe = () => void;

/** Takes an event; an Error ends the iteration with it, null without. */
export type Deliver<Event> = (event: Event | Error | null) => void;

/** Events held for a slow reader before the rest is replaced by one overrun. */
const QUEUE_LIMIT = 8192;

/** Stands in the queue where events were thrown away; the kernel's own overruns are other objects. */
const OVERRUN: { readonly type: 'overrun' } = { type: 'overrun' };

/**
 * Kernel events as an async iterator. The subscription starts with the constructor, not with the
 * first next(): nothing that happens in between is lost. It ends, without an error, on return(),
 * on end() and when the signal aborts; an error of the subscription is thrown by next() once.
 */
export class EventIterator<Event> implements AsyncIterableIterator<Event> {
  readonly #queue: (Event | typeof OVERRUN)[] = [];
  readonly #waiting: PromiseWithResolvers<IteratorResult<Event>>[] = [];
  readonly #onEnd: (self: EventIterator<Event>) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #started: Promise<void>;
  readonly #abort = () => this.end();
  #unsubscribe: Unsubscribe | undefined;
  #failure: { readonly error: unknown } | undefined;
  #ended = false;
  #overrun = false;

  /** `subscribe` gets the function that takes events; `onEnd` runs once when the iteration is over. */
  constructor(
    subscribe: (deliver: Deliver<Event>) => Promise<Unsubscribe>,
    options: { signal?: AbortSignal | undefined; onEnd?: ((self: EventIterator<Event>) => void) | undefined } = {},
  ) {
    this.#signal = options.signal;
    this.#onEnd = options.onEnd ?? (() => undefined);
    this.#started = this.#start(subscribe);
    if (this.#signal?.aborted === true) this.end();
    this.#signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** Resolves when the kernel has taken the subscription: what happens after this is seen. */
  get started(): Promise<void> {
    return this.#started;
  }

  /** No more events will come. */
  get ended(): boolean {
    return this.#ended;
  }

  async #start(subscribe: (deliver: Deliver<Event>) => Promise<Unsubscribe>): Promise<void> {
    try {
      const unsubscribe = await subscribe((event) => this.#deliver(event));
      if (this.#ended) unsubscribe();
      else this.#unsubscribe = unsubscribe;
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#ended) return;
    const reader = this.#waiting.shift();
    if (reader === undefined) this.#failure = { error };
    else reader.reject(error);
    this.end();
  }

  #deliver(event: Event | Error | null): void {
    if (this.#ended) return;
    if (event === null) {
      this.end();
      return;
    }
    if (event instanceof Error) {
      this.#fail(event);
      return;
    }
    const reader = this.#waiting.shift();
    if (reader !== undefined) reader.resolve({ done: false, value: event });
    else if (this.#queue.length < QUEUE_LIMIT) this.#queue.push(event);
    else if (!this.#overrun) {
      this.#overrun = true;
      this.#queue.push(OVERRUN);
    }
  }

  /** The next queued event. Events thrown away after the reader has seen an overrun are another one. */
  #take(): Event | typeof OVERRUN | undefined {
    const event = this.#queue.shift();
    if (event === OVERRUN) this.#overrun = false;
    return event;
  }

  /** Stops the subscription; what is queued can no longer be read. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue.length = 0;
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#unsubscribe?.();
    for (const reader of this.#waiting.splice(0)) reader.resolve({ done: true, value: undefined });
    this.#onEnd(this);
  }

  async next(): Promise<IteratorResult<Event>> {
    const queued = this.#take();
    if (queued !== undefined) return { done: false, value: queued as Event };
    if (!this.#ended) await this.#started;
    if (this.#failure !== undefined) {
      const { error } = this.#failure;
      this.#failure = undefined;
      throw error;
    }
    if (this.#ended) return { done: true, value: undefined };
    const late = this.#take();
    if (late !== undefined) return { done: false, value: late as Event };
    const reader = Promise.withResolvers<IteratorResult<Event>>();
    this.#waiting.push(reader);
    return reader.promise;
  }

  return(): Promise<IteratorResult<Event>> {
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
