/** Drives programs/load.ts in a namespace. */
import { LabProcess } from './process.ts';
import type { Namespace } from './namespace.ts';
import { program } from './programs.ts';

export interface Counts {
  ok: number;
  failed: number;
  /** Took longer than a second, the time after which the kernel repeats a SYN; counted in `ok` too. */
  slow: number;
  /** Failures by what went wrong. */
  errors: Record<string, number>;
  /** Answers by the pod that gave them. */
  pods: Record<string, number>;
  /** Answers by the client address that the pod saw. */
  clients: Record<string, number>;
  slowestMs: number;
  bytes: number;
}

export type LoadCommand =
  | { readonly op: 'requests'; readonly count: number; readonly path?: string }
  | { readonly op: 'start'; readonly fresh: number; readonly kept: number; readonly pauseMs: number }
  | { readonly op: 'counts' | 'stop' };

export class LoadClient {
  readonly #process: LabProcess;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(namespace: Namespace, address: string, port: number) {
    this.#process = new LabProcess(namespace, `load-${namespace.name}`, [process.execPath, program('load'), address, `${port}`]);
  }

  #command(command: LoadCommand): Promise<Counts> {
    const answer = this.#queue.then(async () => {
      this.#process.write(JSON.stringify(command));
      return JSON.parse(await this.#process.line()) as Counts;
    });
    this.#queue = answer.catch(() => undefined);
    return answer;
  }

  /** One after another, each over a connection of its own. */
  requests(count: number, path = '/'): Promise<Counts> {
    return this.#command({ op: 'requests', count, path });
  }

  start(fresh: number, kept: number, pauseMs = 10): Promise<Counts> {
    return this.#command({ op: 'start', fresh, kept, pauseMs });
  }

  counts(): Promise<Counts> {
    return this.#command({ op: 'counts' });
  }

  stop(): Promise<Counts> {
    return this.#command({ op: 'stop' });
  }

  close(): Promise<string> {
    return this.#process.stop('SIGKILL');
  }
}
