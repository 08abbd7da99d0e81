/** Drives programs/kept.c: sockets that stay open, and who answers on each of them, now and later. */
import path from 'node:path';
import type { Namespace } from './namespace.ts';
import { LabProcess } from './process.ts';

/** Pod by the client's port; the name of the error where nobody answered. */
export type KeptAnswers = ReadonlyMap<number, string>;

export class KeptClient {
  readonly #process: LabProcess;

  private constructor(process: LabProcess) {
    this.#process = process;
  }

  /** @param limitMs for each connection, and for all answers to one question together */
  static async open(
    namespace: Namespace,
    protocol: 'tcp' | 'udp',
    address: string,
    port: number,
    { count, limitMs = 5000 }: { readonly count: number; readonly limitMs?: number },
  ): Promise<KeptClient> {
    const words = [path.resolve('build/lab/kept'), protocol, address, `${port}`, `${count}`, `${limitMs}`];
    const client = new KeptClient(new LabProcess(namespace, `kept-${namespace.name}-${protocol}-${address}`, words));
    await client.#process.line();
    return client;
  }

  /** One question on every socket. One call at a time. */
  async ask(): Promise<KeptAnswers> {
    this.#process.write('');
    const answers = JSON.parse(await this.#process.line()) as { port: number; pod?: string; error?: string }[];
    return new Map(answers.map(({ port, pod, error = 'nobody' }) => [port, pod ?? error]));
  }

  close(): Promise<string> {
    return this.#process.stop('SIGKILL');
  }
}
