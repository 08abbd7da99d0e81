/** The released program as a process in a namespace, and its other commands beside it. */
import path from 'node:path';
import type { StatusDocument } from '../../src/cli/status-document.ts';
import type { Namespace, Output } from './namespace.ts';
import { LabProcess } from './process.ts';
import { waitFor } from './wait.ts';

const bundle = path.resolve('dist/ravel-agent.js');

export class LabAgent {
  readonly namespace: Namespace;
  readonly mode: 'director' | 'realserver';
  readonly #options: readonly string[];
  #process: LabProcess | undefined;

  constructor(namespace: Namespace, mode: 'director' | 'realserver', sourceFile: string, extra: readonly string[] = []) {
    this.namespace = namespace;
    this.mode = mode;
    const state = `--state-dir=/run/lab/${namespace.name}`;
    this.#options = [
      `--mode=${mode}`,
      `--nodename=${namespace.name}`,
      `--source-file=${sourceFile}`,
      '--compute-iface=eth0',
      state,
      ...extra,
    ];
  }

  get process(): LabProcess {
    if (this.#process === undefined) throw new Error(`${this.namespace.name}: the agent was not started`);
    return this.#process;
  }

  /** Starts it; `wrapper` goes in front of the command line (strace). */
  start(wrapper: readonly string[] = []): void {
    const command = [...wrapper, process.execPath, bundle, ...this.#options, '--log-format=json'];
    this.#process = new LabProcess(this.namespace, `agent-${this.namespace.name}`, command);
  }

  /** Resolves when the agent has read its input and has nothing left to do. */
  settled(deadlineMs = 60_000): Promise<StatusDocument> {
    return waitFor(
      `the agent on ${this.namespace.name} to settle`,
      async () => {
        if (this.process.exit !== undefined) throw new Error(`it ended: ${this.process.exit}`);
        const status = await this.status();
        const { agent } = status;
        return agent !== null && agent.source.synced && agent.loop.lastPass !== null && agent.failures.length === 0 ? status : undefined;
      },
      deadlineMs,
    );
  }

  command(name: string, options: readonly string[] = [], accept: readonly number[] = [0]): Promise<Output> {
    return this.namespace.run([process.execPath, bundle, name, ...this.#options, ...options], { accept });
  }

  async status(): Promise<StatusDocument> {
    return JSON.parse((await this.command('status', ['-o', 'json'])).stdout) as StatusDocument;
  }

  /** Exit status 0: nothing would change; 2: something would. */
  plan(): Promise<Output> {
    return this.command('plan', [], [0, 2]);
  }

  cleanup(): Promise<Output> {
    return this.command('cleanup');
  }
}
