/** gobgpd in a namespace, its gRPC server on the loopback there and on a Unix socket, which knows no namespaces. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import type { GobgpPrograms } from '../bgp-daemons.ts';
import { run, type Namespace, type Output } from '../namespace.ts';
import { LabProcess } from '../process.ts';
import { waitFor } from '../wait.ts';

const folder = '/run/lab';

export class Gobgpd {
  readonly namespace: Namespace;
  readonly programs: GobgpPrograms;
  /** For agents in the namespace. */
  readonly tcpEndpoint = '127.0.0.1:50051';
  readonly socket: string;
  readonly #file: string;
  #process: LabProcess | undefined;

  constructor(namespace: Namespace, programs: GobgpPrograms) {
    this.namespace = namespace;
    this.programs = programs;
    this.socket = path.join(folder, `${namespace.name}.gobgp.sock`);
    this.#file = path.join(folder, `${namespace.name}.gobgpd.toml`);
    mkdirSync(folder, { recursive: true });
  }

  /** For everybody on this machine. */
  get endpoint(): string {
    return `unix:${this.socket}`;
  }

  get process(): LabProcess {
    if (this.#process === undefined) throw new Error(`${this.namespace.name}: gobgpd was not started`);
    return this.#process;
  }

  get running(): boolean {
    return this.#process !== undefined && this.#process.exit === undefined;
  }

  /**
   * Resolves when it takes requests.
   * @param configuration its own file, TOML; undefined: none, it waits to be told its autonomous system
   */
  async start(configuration?: string, extra: readonly string[] = []): Promise<void> {
    if (this.running) throw new Error(`${this.namespace.name}: gobgpd runs`);
    const words: string[] = [];
    if (configuration !== undefined) {
      writeFileSync(this.#file, configuration);
      words.push('-f', this.#file);
    }
    // One that was killed leaves it, and the next cannot bind.
    rmSync(this.socket, { force: true });
    const hosts = `--api-hosts=${this.tcpEndpoint},unix://${this.socket}`;
    const command = [this.programs.gobgpd, ...words, '-p', '--pprof-disable', hosts, ...extra];
    const process = new LabProcess(this.namespace, `gobgpd-${this.namespace.name}`, command);
    this.#process = process;
    await waitFor(`gobgpd on ${this.namespace.name} to take requests`, () => {
      if (process.exit !== undefined) throw new Error(`it ended: ${process.exit}`);
      return existsSync(this.socket) && answers(this.socket);
    });
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.running) await this.process.stop(signal);
  }

  /** It answers nobody any more, and keeps its connections. A signal takes until each of its threads has had its turn. */
  async freeze(): Promise<void> {
    const { child } = this.process;
    child.kill('SIGSTOP');
    await waitFor(`all threads of gobgpd on ${this.namespace.name} to stand still`, () => standsStill(child.pid ?? 0));
  }

  thaw(): void {
    this.process.child.kill('SIGCONT');
  }

  /** What an operator would type. */
  cli(...words: readonly string[]): Promise<Output> {
    return run([this.programs.gobgp, '--target', `unix://${this.socket}`, ...words]);
  }
}

function standsStill(pid: number): boolean {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.every((task) => readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8').includes('State:\tT'));
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const attempt = connect(socket);
    attempt.once('connect', () => resolve(true)).once('error', () => resolve(false));
    attempt.once('connect', () => attempt.destroy());
  });
}
