/** Drives programs/flows.c: TCP connections that are held open and used now and then. */
import type { Namespace } from '../namespace.ts';
import { LabProcess } from '../process.ts';
import { compiled } from '../programs.ts';
import { POD_PORT } from '../topology.ts';

export interface FlowCounts {
  readonly opened: number;
  readonly open: number;
  readonly answered: number;
  /** Ended by an RST. */
  readonly reset: number;
  /** Ended by the pod, or some other way (timeouts of the kernel). */
  readonly closed: number;
  readonly other: number;
  /** Have been waiting for their answer for more than a second. */
  readonly waiting: number;
  /** Longest wait for an answer since the last report, milliseconds. */
  readonly longestMs: number;
  /** Answers by the pod that gave them. */
  readonly pods: Readonly<Record<string, number>>;
}

export const flowPod = (name: string): readonly string[] => [compiled('flows'), 'pod', name, `${POD_PORT}`];

export class HeldFlows {
  readonly #process: LabProcess;
  #queue: Promise<unknown> = Promise.resolve();

  /** Begins at once, and has opened all after one `pauseMs`. */
  constructor(namespace: Namespace, address: string, port: number, count: number, pauseMs: number) {
    const words = [compiled('flows'), 'hold', address, `${port}`, `${count}`, `${pauseMs}`];
    this.#process = new LabProcess(namespace, `flows-${namespace.name}-${address}`, words);
  }

  counts(): Promise<FlowCounts> {
    const answer = this.#queue.then(async () => {
      this.#process.write('');
      return JSON.parse(await this.#process.line()) as FlowCounts;
    });
    this.#queue = answer.catch(() => undefined);
    return answer;
  }

  close(): Promise<string> {
    return this.#process.stop('SIGKILL');
  }
}
