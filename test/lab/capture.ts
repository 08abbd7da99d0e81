/** What tcpdump sees on an interface, a line for each packet. */
import type { Namespace } from './namespace.ts';
import { LabProcess } from './process.ts';

export class Capture {
  readonly #process: LabProcess;
  readonly #lines: string[] = [];

  private constructor(process: LabProcess) {
    this.#process = process;
  }

  /** Resolves when it listens. */
  static async start(namespace: Namespace, filter: string, device = 'eth0', more: readonly string[] = []): Promise<Capture> {
    const words = ['tcpdump', '--immediate-mode', '-l', '-nn', '-tt', '-i', device, ...more, filter];
    const process = new LabProcess(namespace, `tcpdump-${namespace.name}-${device}`, words);
    await new Promise<void>((resolve, reject) => {
      process.child.stderr?.on('data', (data: Buffer) => {
        if (data.includes('listening on')) resolve();
      });
      process.child.once('close', () => reject(new Error(`${words.join(' ')} ended`)));
    });
    return new Capture(process);
  }

  /** All so far. */
  lines(): readonly string[] {
    this.#lines.push(...this.#process.takeLines());
    return this.#lines;
  }

  stop(): Promise<string> {
    return this.#process.stop('SIGKILL');
  }
}
