/** Drives programs/traffic.c and programs/echo.c: many questions over TCP, UDP and SCTP, and datagrams in one direction. */
import type { Namespace } from './namespace.ts';
import { LabProcess } from './process.ts';
import { compiled } from './programs.ts';
import { POD_PORT } from './topology.ts';

export type Protocol = 'tcp' | 'udp' | 'sctp';

export interface Answers {
  readonly ok: number;
  readonly failed: number;
  /** Of `ok`: the pod had not got every byte, or sent fewer than asked for. */
  readonly wrong: number;
  /** TCP segments sent again. */
  readonly retransmitted: number;
  /** Least largest segment of a connection, and least path MTU of one: what the client was told. 0: not known. */
  readonly segment: number;
  readonly pathMtu: number;
  readonly slowestMs: number;
  /** Answers by pod, by the client's address as the pod saw it; failures by what went wrong. */
  readonly pods: Readonly<Record<string, number>>;
  readonly clients: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
}

export interface Question {
  /** Default 1. */
  readonly count?: number;
  /** Bytes of a question, at least 16, and of its answer; default 16 and what an answer needs. */
  readonly send?: number;
  readonly want?: number;
  /** At a time; default 16. */
  readonly parallel?: number;
  /** Default 5000. */
  readonly limitMs?: number;
  /** IP_MTU_DISCOVER. */
  readonly df?: 'do' | 'dont' | 'default';
}

export const echoPod = (name: string): readonly string[] => [compiled('echo'), name, `${POD_PORT}`];

export class TrafficClient {
  readonly #process: LabProcess;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(namespace: Namespace) {
    this.#process = new LabProcess(namespace, `traffic-${namespace.name}`, [compiled('traffic'), 'ask']);
  }

  ask(protocol: Protocol, address: string, port: number, question: Question = {}): Promise<Answers> {
    const { count = 1, send = 16, want = 0, parallel = 16, limitMs = 5000, df = 'default' } = question;
    const answer = this.#queue.then(async () => {
      this.#process.write([protocol, address, port, count, send, want, parallel, limitMs, df].join(' '));
      return JSON.parse(await this.#process.line()) as Answers;
    });
    this.#queue = answer.catch(() => undefined);
    return answer;
  }

  close(): Promise<string> {
    return this.#process.stop('SIGKILL');
  }
}

/** Milliseconds of the clock that programs/traffic.c stamps its datagrams with. */
export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

/** What a pod got of a one-way stream: sequence numbers. */
export interface Arrivals {
  readonly ranges: readonly (readonly [first: number, last: number])[];
  readonly twice: number;
}

export async function arrivals(pod: LabProcess): Promise<Arrivals> {
  pod.write('');
  return JSON.parse(await pod.line()) as Arrivals;
}

/** Sends numbered datagrams from one port, whatever comes back, from its making on. */
export class OneWaySender {
  readonly #process: LabProcess;

  constructor(namespace: Namespace, address: string, port: number, perSecond: number) {
    const words = [compiled('traffic'), 'way', address, `${port}`, `${perSecond}`];
    this.#process = new LabProcess(namespace, `way-${namespace.name}-${address}`, words);
  }

  async started(): Promise<this> {
    await this.#process.line();
    return this;
  }

  /** @returns when each datagram was sent, by its number, milliseconds of {@link monotonicMs} */
  async stop(): Promise<{ readonly sentAt: readonly number[]; readonly errors: Readonly<Record<string, number>> }> {
    this.#process.child.stdin?.end();
    const { sent, errors } = JSON.parse(await this.#process.line()) as { sent: number[]; errors: Record<string, number> };
    return { sentAt: sent.map((microseconds) => microseconds / 1000), errors };
  }
}
