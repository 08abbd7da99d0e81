/** What the daemon tells by itself, for the time of one connection. */
import type { Clock } from '../../model/clock.ts';
import { DaemonError, type BgpDaemon } from './daemon.ts';

export interface NewsHandlers {
  /** News were lost: everything is to be read again. Not called for the one that every stream begins with. */
  readonly gap: () => void;
  /** Something changed at a neighbour. */
  readonly peer: () => void;
}

/** A stream begins with an answer; without one, no break of the connection would be noticed. */
const firstMilliseconds = 5000;

export class News {
  readonly #daemon: BgpDaemon;
  readonly #clock: Clock;
  readonly #handlers: NewsHandlers;
  readonly #end = new AbortController();
  #began: (() => void) | undefined;

  constructor(daemon: BgpDaemon, clock: Clock, handlers: NewsHandlers) {
    this.#daemon = daemon;
    this.#clock = clock;
    this.#handlers = handlers;
  }

  /**
   * Resolves when whatever changes from then on is told. `broke` is called when the stream ends, which it does with the connection.
   * @throws DaemonError when nothing is told in time
   */
  async begin(broke: (error: unknown) => void): Promise<void> {
    const began = new Promise<void>((resolve, reject) => {
      const text = `nothing was told within ${firstMilliseconds} ms`;
      const late = new DaemonError('Timeout', 'watch', this.#daemon.endpoint, text);
      const timer = this.#clock.after(firstMilliseconds, () => reject(late));
      this.#end.signal.addEventListener('abort', () => timer.cancel(), { once: true });
      this.#began = () => {
        timer.cancel();
        this.#began = undefined;
        resolve();
      };
    });
    void this.#listen(broke);
    await began;
  }

  /** Nothing is told any more. */
  end(): void {
    this.#end.abort();
  }

  async #listen(broke: (error: unknown) => void): Promise<void> {
    const { signal } = this.#end;
    try {
      for await (const event of this.#daemon.watch(signal)) {
        if (signal.aborted) return;
        if (event.kind === 'peer') this.#handlers.peer();
        else if (this.#began === undefined) this.#handlers.gap();
        else this.#began();
      }
      broke(new DaemonError('Unreachable', 'watch', this.#daemon.endpoint, 'the stream of news ended'));
    } catch (error) {
      broke(error);
    }
  }
}
