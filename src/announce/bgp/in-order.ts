/** Work on many things at once, a bounded number of them, and on one thing in the order in which it was asked for. */

/** Calls under way. The daemon works on one at a time: more than it takes to hide the way there and back gain nothing. */
const window = 64;

export class InOrder {
  /** Key → end of the last work on it, which never rejects. */
  readonly #last = new Map<string, Promise<void>>();

  /** Rejects with the first error, after which nothing more is begun; what is under way is waited for. */
  async run<T>(items: readonly T[], key: (item: T) => string, work: (item: T) => Promise<void>): Promise<void> {
    let next = 0;
    let failed: { readonly error: unknown } | undefined;
    const one = async (): Promise<void> => {
      while (failed === undefined) {
        const item = items[next++];
        if (item === undefined) return;
        try {
          await this.#after(key(item), () => (failed === undefined ? work(item) : Promise.resolve()));
        } catch (error) {
          failed ??= { error };
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(window, items.length) }, one));
    if (failed !== undefined) throw failed.error;
  }

  async #after(key: string, work: () => Promise<void>): Promise<void> {
    const before = this.#last.get(key);
    const result = before === undefined ? work() : before.then(work);
    const end = result.then(nothing, nothing);
    this.#last.set(key, end);
    try {
      await result;
    } finally {
      if (this.#last.get(key) === end) this.#last.delete(key);
    }
  }
}

const nothing = (): undefined => undefined;
