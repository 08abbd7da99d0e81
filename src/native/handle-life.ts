import { ClosedError } from './errors.ts';
import { EventIterator } from './event-iterator.ts';
import type { Deliver, Unsubscribe } from './event-iterator.ts';

/** The life of a handle of the addon: the watches that hang on it, and its one end. */
export class HandleLife<Event = never> {
  readonly #handle: { close(): Promise<void> };
  readonly #watches = new Set<EventIterator<Event>>();
  #closing: Promise<void> | undefined;

  constructor(handle: { close(): Promise<void> }) {
    this.#handle = handle;
  }

  /** A watch that ends with the handle at the latest. */
  watch(subscribe: (deliver: Deliver<Event>) => Promise<Unsubscribe>, signal: AbortSignal | undefined): EventIterator<Event> {
    const iterator = new EventIterator<Event>(subscribe, { signal, onEnd: (ended) => void this.#watches.delete(ended) });
    if (!iterator.ended) this.#watches.add(iterator);
    return iterator;
  }

  /** Ends the watches, then closes the handle after the calls that were made before. Once, however often it is called. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const watch of this.#watches) watch.end();
    try {
      await this.#handle.close();
    } catch (error) {
      // The namespace went first, and the socket with it.
      if (!(error instanceof ClosedError)) throw error;
    }
  }
}
