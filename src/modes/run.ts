/** An agent as a whole: source, loop, listeners, status socket. Ending it leaves the data plane as it is. */
import { join } from 'node:path';
import type { Server } from 'node:http';
import type { Problem, Publication, Reason, Source, VirtualServiceKey } from '../model/cluster.ts';
import type { AgentDocument } from '../observe/agent-document.ts';
import { errorFields } from '../observe/log.ts';
import { serveStatus, stopServing } from '../observe/status-server.ts';
import { Backoff } from '../reconcile/backoff.ts';
import { sleep } from '../reconcile/drift.ts';
import { ReconcileLoop } from '../reconcile/loop.ts';
import type { DriverFailure } from '../drivers/outcome.ts';
import type { Composition, Parts } from './composition.ts';
import { director } from './director.ts';
import type { AgentOptions, Mode } from './options.ts';
import { realserver } from './realserver.ts';

export const compositions: Readonly<Record<Mode, (options: AgentOptions, parts: Parts) => Composition>> = { director, realserver };

export interface AgentInput {
  readonly options: AgentOptions;
  readonly parts: Parts;
  /** Made anew for each reload. */
  readonly source: () => Source;
  readonly version: string;
}

interface SourceRecord {
  acceptedAt: string | null;
  refused: { at: string; problems: readonly Problem[] } | null;
  warnings: readonly Problem[];
}

export class Agent {
  readonly #input: AgentInput;
  readonly #composition: Composition;
  readonly loop: ReconcileLoop;
  readonly #startedAt: string;
  readonly #record: SourceRecord = { acceptedAt: null, refused: null, warnings: [] };
  #reload: AbortController | undefined;

  constructor(input: AgentInput) {
    this.#input = input;
    const { options, parts } = input;
    this.#composition = compositions[options.mode](options, parts);
    this.#startedAt = parts.clock.date().toISOString();
    this.loop = new ReconcileLoop({ plane: this.#composition.plane, ...parts, auditMilliseconds: options.auditMilliseconds });
  }

  /** Runs until the signal aborts. Rejects only when another agent holds the status socket. */
  async run(signal: AbortSignal): Promise<void> {
    const { parts, options } = this.#input;
    const server = await this.#serve();
    // Listening starts before the first read: what changes in between is heard.
    const listeners = this.#composition.listeners((cause) => this.loop.doubt(cause)).map((listen) => listen(signal));
    parts.log.info('started', { mode: options.mode, node: options.nodeName, interface: options.interface, file: options.sourceFile });
    await Promise.all([...listeners, this.#runSource(signal), this.loop.run(signal)]);
    this.#composition.stop();
    if (server !== undefined) await stopServing(server);
    parts.log.info('stopped; what was programmed stays in force', { mode: options.mode });
  }

  /** Reads the source from its beginning, as after a start. */
  reload(): void {
    this.#input.parts.log.info('reloading', { file: this.#input.options.sourceFile });
    this.#reload?.abort();
  }

  /** The first state of the source, then one pass. Returns what failed; throws when the input is refused. */
  async once(): Promise<{ failures: readonly DriverFailure[]; held: string | undefined }> {
    this.#accept(await firstPublication(this.#input.source()));
    const failures = await this.loop.once();
    this.#composition.stop();
    return { failures, held: this.loop.status().held };
  }

  /** What `GET /status` answers. */
  document(): AgentDocument {
    const { options, version } = this.#input;
    const loop = this.loop.status();
    const plane = this.#composition.plane.status();
    return {
      ...{ version, mode: options.mode, node: options.nodeName, pid: process.pid, startedAt: this.#startedAt },
      ...{ interface: options.interface, vipInterface: options.vipInterface },
      source: { file: options.sourceFile, synced: loop.synced, ...this.#record },
      loop: {
        ...{ passes: loop.passes, written: loop.written, doubts: loop.doubts, attempts: loop.attempts },
        lastPass: loop.lastPass ?? null,
        nextRetryMilliseconds: loop.nextRetryMilliseconds ?? null,
      },
      held: loop.held ?? null,
      failures: loop.failures.map(({ op, subject, code, message }) => ({ op, object: subject, errno: code, message })),
      vips: plane.vips.map(({ address, announced, reason, conflicts }) => ({
        ...{ address, announced: announced ?? null, reason: reason ?? null, conflicts },
      })),
      reasons: { ...notProgrammed(loop.failures), ...Object.fromEntries(plane.reasons) },
      foreign: plane.foreign,
    };
  }

  async #serve(): Promise<Server | undefined> {
    const { options, parts } = this.#input;
    const path = join(options.stateDirectory, `${options.mode}.sock`);
    try {
      return await serveStatus(path, () => this.document());
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
      // Balancing does not need the socket; `status` then shows the kernel's side only.
      parts.log.warn('no status socket', { path, ...errorFields(error) });
      return undefined;
    }
  }

  #accept(publication: Publication): void {
    const { log, clock } = this.#input.parts;
    for (const { path, message } of publication.warnings) log.warn(message, { path });
    const news = this.#record.acceptedAt === null || this.#record.refused !== null;
    const { virtualServices, addresses } = publication.state;
    log[news ? 'info' : 'debug']('input accepted', { vips: addresses.length, virtualServices: virtualServices.size });
    this.#record.acceptedAt = clock.date().toISOString();
    this.#record.refused = null;
    this.#record.warnings = publication.warnings;
    this.loop.publish(publication);
  }

  #refuse(problems: readonly Problem[]): void {
    const { log, clock } = this.#input.parts;
    const first = this.#record.acceptedAt === null;
    const rest = first ? 'nothing is changed until one is accepted' : 'the last good configuration stays in force';
    log.error(`input refused; ${rest}`, { problems: problems.length });
    for (const { path, message, line } of problems.slice(0, 20)) log.error(message, { path, line });
    this.#record.refused = { at: clock.date().toISOString(), problems: problems.slice(0, 100) };
  }

  async #runSource(signal: AbortSignal): Promise<void> {
    const { parts, source } = this.#input;
    const backoff = new Backoff({ random: parts.random });
    while (!signal.aborted) {
      this.#reload = new AbortController();
      const either = AbortSignal.any([signal, this.#reload.signal]);
      try {
        await source().run({
          signal: either,
          onPublication: (publication) => {
            backoff.succeed();
            this.#accept(publication);
          },
          onRefused: (problems) => this.#refuse(problems),
        });
      } catch (error) {
        parts.log.error('the source failed and is started again', errorFields(error));
      }
      if (!either.aborted) await sleep(parts.clock, backoff.fail(), signal);
    }
  }
}

/** Virtual services that the kernel refused, with its words. */
function notProgrammed(failures: readonly DriverFailure[]): Record<VirtualServiceKey, Reason> {
  return Object.fromEntries(failures.flatMap(({ key, message }) => (key === undefined ? [] : [[key, { code: 'NotProgrammed', message }]])));
}

/** The input was refused before any was accepted. */
export class InputRefusedError extends Error {
  override readonly name = 'InputRefusedError';
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('\n'));
    this.problems = problems;
  }
}

/** Runs a source just long enough to hear its first word. */
export async function firstPublication(source: Source): Promise<Publication> {
  const stop = new AbortController();
  return new Promise((resolve, reject) => {
    source
      .run({
        signal: stop.signal,
        onPublication: (publication) => {
          resolve(publication);
          stop.abort();
        },
        onRefused: (problems) => {
          reject(new InputRefusedError(problems));
          stop.abort();
        },
      })
      .then(() => reject(new Error('the source ended without a word')), reject);
  });
}
