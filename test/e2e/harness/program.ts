/** A program of the control plane: its output kept in a file, its end awaited. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';

const running = new Set<ChildProcess>();
// Whatever happens to us, nothing of the control plane outlives us.
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));

export class Program {
  readonly log: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #exit: string | undefined;

  constructor(command: readonly string[], log: string) {
    this.log = log;
    const output = openSync(log, 'a');
    const [file = '', ...words] = command;
    // A group of its own: an interrupt from the terminal reaches us first, and we stop it in order.
    this.#child = spawn(file, words, { stdio: ['ignore', output, output], detached: true });
    closeSync(output);
    running.add(this.#child);
    const closed = once(this.#child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
    this.#ended = closed.then(
      ([code, signal]) => this.#over(signal ?? `status ${String(code)}`),
      (error: unknown) => this.#over(String(error)),
    );
  }

  #over(how: string): void {
    running.delete(this.#child);
    this.#exit = how;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** How it ended; undefined while it runs. */
  get exit(): string | undefined {
    return this.#exit;
  }

  /** Throws, with the end of its log, when it is not running any more. */
  assertRunning(): void {
    if (this.#exit === undefined) return;
    throw new Error(`${this.log}: ended (${this.#exit})\n${readFileSync(this.log, 'utf8').slice(-2000)}`);
  }

  /** Sends the signal, waits for the end, and kills after 10 s. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#child.kill(signal);
    const hard = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await this.#ended;
    clearTimeout(hard);
  }
}
