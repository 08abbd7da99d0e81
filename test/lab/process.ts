/** A program that runs in a namespace until it is stopped, its output kept in a file. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdirSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Namespace } from './namespace.ts';

/** Where the output of the lab's programs goes. */
export const logFolder = path.join(process.env['RAVEL_OUT'] ?? path.resolve('build/vm-out'), 'lab');

const running = new Set<ChildProcess>();
// Whatever happens to us, nothing of the lab outlives us.
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class LabProcess {
  readonly name: string;
  readonly child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #ended: Promise<unknown>;
  #exit: string | undefined;

  constructor(namespace: Pick<Namespace, 'spawn'>, name: string, command: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.name = name;
    mkdirSync(logFolder, { recursive: true });
    const log = createWriteStream(path.join(logFolder, `${name}.log`), { flags: 'a' });
    this.child = namespace.spawn(command, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    running.add(this.child);
    this.#ended = once(this.child, 'close').then(([code, signal]) => {
      running.delete(this.child);
      this.#exit = signal === null ? `status ${String(code)}` : String(signal);
      log.end(`-- ended: ${this.#exit}\n`);
    });
    // Writing to a program that has just died is not news.
    this.child.stdin?.on('error', () => undefined);
    this.child.stderr?.on('data', (data: Buffer) => log.write(data));
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      log.write(`${line}\n`);
      this.#lines.push(line);
      this.child.emit('lab-line');
    });
  }

  /** How it ended; undefined while it runs. */
  get exit(): string | undefined {
    return this.#exit;
  }

  /** The next line of standard output that was not taken yet. */
  async line(): Promise<string> {
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined) return line;
      if (this.#exit !== undefined) throw new Error(`${this.name} ended (${this.#exit}); see ${logFolder}/${this.name}.log`);
      await Promise.race([once(this.child, 'lab-line'), this.#ended]);
    }
  }

  /** Standard output so far that was not taken. */
  takeLines(): string[] {
    return this.#lines.splice(0);
  }

  write(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  /** Sends the signal and waits for the end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<string> {
    this.child.kill(signal);
    const hard = setTimeout(() => this.child.kill('SIGKILL'), 20_000);
    await this.#ended;
    clearTimeout(hard);
    return this.#exit ?? '';
  }
}
