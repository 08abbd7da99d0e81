/** Drives programs/http.c as a client: load at a rate, cheap enough for an emulated CPU. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Counts } from './load.ts';
import { LabProcess } from './process.ts';
import type { Namespace } from './namespace.ts';
import { POD_PORT } from './topology.ts';

export interface SteadyCounts extends Counts {
  /** Failures of kept connections by the pod that had answered on them. */
  lost: Record<string, number>;
  /** Connections begun for one request; with `kept` ones beside them. */
  begun: number;
  /** How far the client itself fell behind its schedule. */
  lateMs: number;
  /** Connections that are kept now. */
  openKept: number;
}

export interface SteadyLoad {
  /** New connections, one request each. */
  readonly perSecond: number;
  readonly kept: number;
  /** Between two requests on a kept connection. */
  readonly pauseMs: number;
}

/** `cc` has made it from programs/http.c. */
export const httpProgram = path.resolve('build/lab/http');

export const httpPod = (name: string): readonly string[] => [httpProgram, 'pod', name, `${POD_PORT}`];

export class SteadyClient {
  readonly #process: LabProcess;

  /** Begins at once. */
  constructor(namespace: Namespace, address: string, port: number, { perSecond, kept, pauseMs }: SteadyLoad) {
    if (!existsSync(httpProgram)) throw new Error(`${httpProgram} is not built`);
    const words = [httpProgram, 'load', address, `${port}`, `${perSecond}`, `${kept}`, `${pauseMs}`];
    this.#process = new LabProcess(namespace, `steady-${namespace.name}-${address}`, words);
  }

  async counts(): Promise<SteadyCounts> {
    this.#process.write('');
    return JSON.parse(await this.#process.line()) as SteadyCounts;
  }

  /** Begins nothing more, waits for what is open. */
  async stop(): Promise<SteadyCounts> {
    this.#process.child.stdin?.end();
    return JSON.parse(await this.#process.line()) as SteadyCounts;
  }

  async close(): Promise<void> {
    await this.#process.stop('SIGKILL');
  }
}
