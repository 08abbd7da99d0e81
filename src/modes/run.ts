/** An agent as a whole: source, loop, listeners, status socket. Ending it leaves the data plane as it is. */
import { join } from 'node:path';
import type { Server } from 'node:http';
import type { Problem, Publication, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { AgentDocument } from '../observe/agent-document.ts';
import { bgpDocument } from '../observe/bgp-document.ts';
import { errorFields } from '../observe/log.ts';
import { ReasonJournal } from '../observe/reasons.ts';
import { askAgent, serveStatus, stopServing } from '../observe/status-server.ts';
import { Backoff } from '../model/backoff.ts';
import { sleep } from '../reconcile/drift.ts';
import { ReconcileLoop } from '../reconcile/loop.ts';
import type { DriverFailure } from '../drivers/outcome.ts';
import type { Work } from '../reconcile/gate.ts';
import { aborted, type Composition, type Parts } from './composition.ts';
import { bgp } from './bgp.ts';
import { showingPresence, standingBy, type Compose } from './coordination.ts';
import { director } from './director.ts';
import { InputRecord } from './input-record.ts';
import { serveMetrics } from './metrics.ts';
import type { AgentOptions, Mode } from './options.ts';
import { firstPublication, type Origin } from './origin.ts';
import { realserver } from './realserver.ts';

export const compositions: Readonly<Record<Mode, Compose>> = {
  director: showingPresence(director),
  bgp: showingPresence(bgp),
  realserver: standingBy(realserver),
};

export interface AgentInput {
  readonly options: AgentOptions;
  readonly parts: Parts;
  /** The caller's: the agent does not close it. */
  readonly origin: Origin;
  readonly version: string;
}

export class Agent {
  readonly #input: AgentInput;
  readonly #composition: Composition;
  readonly loop: ReconcileLoop;
  readonly #startedAt: string;
  readonly #record: InputRecord;
  readonly #reasons: ReasonJournal;
  /** Virtual services whose operations failed in the last pass, or in one before that still stands. */
  #refusedByKernel: ReadonlyMap<VirtualServiceKey, Reason> = new Map();
  #reload: AbortController | undefined;

  constructor(input: AgentInput) {
    this.#input = input;
    const { options, parts } = input;
    this.#record = new InputRecord(parts);
    this.#composition = compositions[options.mode](options, parts);
    this.#startedAt = parts.clock.date().toISOString();
    this.loop = new ReconcileLoop({
      ...{ plane: this.#composition.plane, ...parts, auditMilliseconds: options.auditMilliseconds },
      onPass: (_outcome, _milliseconds, work) => this.#afterPass(work),
    });
    const { plane } = this.#composition;
    this.#reasons = new ReasonJournal({
      ...{ log: parts.log, clock: parts.clock },
      reason: (key) => plane.reason(key) ?? this.#refusedByKernel.get(key),
      vipReason: (address) => plane.vip(address).reason,
      onChange: (change) => input.origin.correspondent?.reason(change),
    });
  }

  /**
   * Runs until the signal aborts, and then until it has sent its clients elsewhere where that was asked for; `hurry` ends it at
   * once. Rejects only when another agent holds the status socket, or directs
   * here in the other way.
   */
  async run(asked: AbortSignal, hurry: AbortSignal = new AbortController().signal): Promise<void> {
    const { parts, options, origin } = this.#input;
    const server = await this.#serve();
    const end = new AbortController();
    const { signal } = end;
    const stopping = this.#untilDrained(asked, hurry).then(() => end.abort());
    // Listening starts before the first read: what changes in between is heard.
    const listeners = this.#composition
      .listeners({
        doubt: (cause) => this.loop.doubt(cause),
        renew: () => this.loop.renew(),
        vipsChanged: (vips) => this.#reasons.lookAt(vips),
      })
      .map((listen) => listen(signal));
    const { metricsListen } = options;
    if (metricsListen !== undefined) listeners.push(serveMetrics(metricsListen, () => this.document(), parts, signal));
    parts.log.info('started', { mode: options.mode, node: options.nodeName, interface: options.interface, source: origin.place });
    await Promise.all([...listeners, stopping, this.#runSource(signal), this.loop.run(signal), origin.correspondent?.run(signal)]);
    this.#composition.stop();
    if (server !== undefined) await stopServing(server);
    parts.log.info('stopped; what was programmed stays in force', { mode: options.mode });
  }

  /** The data plane goes on, and follows the cluster, while clients are sent elsewhere. */
  async #untilDrained(asked: AbortSignal, hurry: AbortSignal): Promise<void> {
    await aborted(asked);
    const { log } = this.#input.parts;
    const { drain } = this.#composition;
    if (drain === undefined || hurry.aborted) return;
    const drained = drain().catch((error: unknown) => log.error('clients could not be sent elsewhere', errorFields(error)));
    const hurried = aborted(hurry).then(() => log.warn('stopping at once: asked a second time'));
    await Promise.race([drained, hurried]);
  }

  /** Reads the source from its beginning, as after a start. */
  reload(): void {
    this.#input.parts.log.info('reloading', { source: this.#input.origin.place });
    this.#reload?.abort();
  }

  /** The first state of the source, then one pass. Returns what failed; throws when the input is refused. */
  async once(): Promise<{ failures: readonly DriverFailure[]; held: string | undefined }> {
    this.#accept(await firstPublication(this.#input.origin, this.#input.parts.clock));
    const programmed = await this.loop.once();
    const failures = [...programmed, ...((await this.#composition.settle?.()) ?? [])];
    this.#composition.stop();
    return { failures, held: this.loop.status().held };
  }

  /** What `GET /status` answers. */
  document(): AgentDocument {
    const { options, version, origin } = this.#input;
    const loop = this.loop.status();
    const plane = this.#composition.plane.status();
    const speaker = this.#composition.bgp?.();
    return {
      ...{
        version,
        mode: options.combined === true ? ('director,realserver' as const) : options.mode,
        node: options.nodeName,
        pid: process.pid,
        startedAt: this.#startedAt,
      },
      ...{ interface: options.interface, vipInterface: options.vipInterface },
      source: {
        kind: options.source.kind,
        file: options.source.kind === 'file' ? options.source.file : null,
        kubernetes: origin.kubernetes?.document() ?? null,
        ...{ synced: loop.synced, ...this.#record.told },
      },
      loop: {
        ...{ passes: loop.passes, written: loop.written, doubts: loop.doubts, attempts: loop.attempts },
        lastPass: loop.lastPass ?? null,
        nextRetryMilliseconds: loop.nextRetryMilliseconds ?? null,
      },
      ...{ nat: plane.nat ?? null, standby: plane.standby ?? null, bgp: speaker === undefined ? null : bgpDocument(speaker) },
      held: loop.held ?? null,
      failures: loop.failures.map(({ op, subject, code, message }) => ({ op, object: subject, errno: code, message })),
      vips: plane.vips.map(({ address, announced, reason, conflicts }) => ({
        ...{ address, announced: announced ?? null, reason: reason ?? null, conflicts },
      })),
      reasons: { ...Object.fromEntries(notProgrammed(loop.failures)), ...Object.fromEntries(plane.reasons) },
      foreign: plane.foreign,
      warnings: plane.warnings,
    };
  }

  async #serve(): Promise<Server | undefined> {
    const { options, parts } = this.#input;
    const path = join(options.stateDirectory, `${options.mode}.sock`);
    try {
      await refuseBesideRival(options);
      return await serveStatus(path, () => this.document());
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
      // Balancing does not need the socket; `status` then shows the kernel's side only.
      parts.log.warn('no status socket', { path, ...errorFields(error) });
      return undefined;
    }
  }

  #accept(publication: Publication): void {
    const endsRefusal = this.#record.accept(publication);
    if (endsRefusal) this.#input.origin.correspondent?.refused(undefined);
    this.loop.publish(publication);
    // Nothing to do for it: what has come is as good as programmed.
    const { change, state } = publication;
    if (!change.all && change.virtualServices.size === 0 && !this.loop.busy) this.#confirm(state.revision, false);
  }

  #afterPass({ state, change }: Work): void {
    const { failures } = this.loop.status();
    this.#refusedByKernel = notProgrammed(failures);
    this.#reasons.update(state, change);
    this.#confirm(state.revision, change.all || this.#composition.serves(change.virtualServices));
  }

  /** What failed is not in the kernel, and which endpoints that concerns nobody knows: better say nothing. */
  #confirm(revision: number | undefined, pressing: boolean): void {
    // One that stands by has programmed nothing.
    if (this.#composition.idle?.() === true) return;
    if (revision !== undefined && this.loop.status().failures.length === 0)
      this.#input.origin.correspondent?.programmed(revision, pressing);
  }

  #refuse(problems: readonly Problem[]): void {
    this.#record.refuse(problems);
    this.#input.origin.correspondent?.refused(problems);
  }

  async #runSource(signal: AbortSignal): Promise<void> {
    const { parts, origin } = this.#input;
    const backoff = new Backoff({ random: parts.random });
    while (!signal.aborted) {
      this.#reload = new AbortController();
      const either = AbortSignal.any([signal, this.#reload.signal]);
      try {
        await origin.source().run({
          signal: either,
          onPublication: (publication) => {
            backoff.succeed();
            this.#accept(publication);
          },
          onRefused: (problems) => this.#refuse(problems),
          onTrouble: (problem, resource) => this.#record.trouble(problem, resource),
        });
      } catch (error) {
        parts.log.error('the source failed and is started again', errorFields(error));
      }
      if (!either.aborted) await sleep(parts.clock, backoff.fail(), signal);
    }
  }
}

/** Directors of both kinds would undo each other's settings and IPVS. */
const rivals: Partial<Readonly<Record<Mode, Mode>>> = { director: 'bgp', bgp: 'director' };

async function refuseBesideRival({ mode, stateDirectory }: AgentOptions): Promise<void> {
  const rival = rivals[mode];
  if (rival === undefined) return;
  const answer = (await askAgent(join(stateDirectory, `${rival}.sock`))) as { readonly pid?: number } | undefined;
  if (answer !== undefined)
    throw new Error(
      `an agent of mode ${rival} is running here (process ${answer.pid ?? '?'}), and a machine directs in one way; stop it first`,
    );
}

/** Virtual services that the kernel refused, with its words. */
function notProgrammed(failures: readonly DriverFailure[]): Map<VirtualServiceKey, Reason> {
  return new Map(failures.flatMap(({ key, message }) => (key === undefined ? [] : [[key, { code: 'NotProgrammed', message }] as const])));
}
