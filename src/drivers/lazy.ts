export interface Closable {
  close(): Promise<void>;
}

/** Opens on the first call, and again on the next after a failure. */
export class Lazy<Port extends Closable> {
  readonly #open: () => Promise<Port>;
  #port: Promise<Port> | undefined;

  constructor(open: () => Promise<Port>) {
    this.#open = open;
  }

  get(): Promise<Port> {
    this.#port ??= this.#open().catch((error: unknown) => {
      this.#port = undefined;
      throw error;
    });
    return this.#port;
  }

  async close(): Promise<void> {
    const port = await this.#port?.catch(() => undefined);
    this.#port = undefined;
    await port?.close();
  }
}
