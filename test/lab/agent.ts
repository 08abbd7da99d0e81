/** The released program as a process in a namespace, and its other commands beside it. */
import path from 'node:path';
import type { AgentDocument } from '../../src/observe/agent-document.ts';
import { askAgent } from '../../src/observe/status-server.ts';
import type { Namespace, Output } from './namespace.ts';
import { LabProcess } from './process.ts';
import { waitFor } from './wait.ts';

const bundle = path.resolve('dist/ravel-agent.js');

export type LabMode = 'director' | 'bgp' | 'realserver' | 'director,realserver';

export class LabAgent {
  readonly namespace: Namespace;
  readonly mode: LabMode;
  readonly #options: readonly string[];
  #process: LabProcess | undefined;

  constructor(
    namespace: Namespace,
    mode: LabMode,
    sourceFile: string | undefined,
    extra: readonly string[] = [],
    nodeName = namespace.name,
  ) {
    this.namespace = namespace;
    this.mode = mode;
    const state = `--state-dir=/run/lab/${namespace.name}`;
    this.#options = [
      `--mode=${mode}`,
      `--nodename=${nodeName}`,
      ...(sourceFile === undefined ? [] : [`--source-file=${sourceFile}`]),
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
    this.#process = new LabProcess(this.namespace, `agent-${this.namespace.name}-${this.mode}`, command);
  }

  /** Ends it if it runs. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<string | undefined> {
    if (this.#process === undefined || this.#process.exit !== undefined) return this.#process?.exit;
    return this.#process.stop(signal);
  }

  /** What the agent says of itself; undefined when none answers. Unix sockets know no network namespace. */
  async document(): Promise<AgentDocument | undefined> {
    const answer = await askAgent(`/run/lab/${this.namespace.name}/${this.mode.split(',')[0]!}.sock`, 10_000);
    return answer as AgentDocument | undefined;
  }

  /** Resolves when the agent has read its input and has nothing left to do. */
  settled(): Promise<AgentDocument> {
    return waitFor(
      `the agent on ${this.namespace.name} to settle`,
      async () => {
        if (this.process.exit !== undefined) throw new Error(`it ended: ${this.process.exit}`);
        const document = await this.document();
        // A wrapper (strace) has a process id of its own.
        if (document === undefined) return undefined;
        if (!document.source.synced || document.loop.lastPass === null) return undefined;
        if (document.failures.length > 0) throw new Error(JSON.stringify(document.failures));
        return document;
        // The first pass of a machine that is emulated beside others takes its time.
      },
      120_000,
    );
  }

  command(name: string, options: readonly string[] = [], accept: readonly number[] = [0]): Promise<Output> {
    return this.namespace.run([process.execPath, bundle, name, ...this.#options, ...options], { accept });
  }

  /** Exit status 0: nothing would change; 2: something would. */
  plan(): Promise<Output> {
    return this.command('plan', [], [0, 2]);
  }

  cleanup(): Promise<Output> {
    return this.command('cleanup');
  }
}
