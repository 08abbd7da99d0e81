/** Drives programs/relay.ts, here, outside of the lab's namespaces. */
import { spawn } from 'node:child_process';
import { LabProcess } from './process.ts';
import { program } from './programs.ts';

export interface RelayCommand {
  readonly port: number;
  readonly do: 'open' | 'cut' | 'stall' | 'look';
}

export interface RelayPort {
  readonly port: number;
  readonly state: 'open' | 'cut' | 'stalled';
  /** Open now. */
  readonly connections: number;
  /** Since the start. */
  readonly accepted: number;
}

/** The namespace that this process is in. */
const here = { spawn: (command: readonly string[], options: object) => spawn(command[0]!, command.slice(1), options) };

export class Relay {
  readonly #process: LabProcess;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(process_: LabProcess) {
    this.#process = process_;
  }

  /** @param upstream `HOST:PORT`, or the path of a Unix socket */
  static async start(address: string, upstream: string): Promise<Relay> {
    const relay = new Relay(new LabProcess(here, 'relay', [process.execPath, program('relay'), address, upstream]));
    await relay.#process.line();
    return relay;
  }

  command(port: number, what: RelayCommand['do']): Promise<RelayPort> {
    const answer = this.#queue.then(async () => {
      this.#process.write(JSON.stringify({ port, do: what } satisfies RelayCommand));
      return JSON.parse(await this.#process.line()) as RelayPort;
    });
    this.#queue = answer.catch(() => undefined);
    return answer;
  }

  close(): Promise<string> {
    return this.#process.stop('SIGKILL');
  }
}
