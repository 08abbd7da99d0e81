/**
 * A realserver tells the cluster up to which revision it has programmed all EndpointSlices, in a Lease of its own. A
 * director raises a node's weight only then. The Lease lowers nothing: when it cannot be written, what is in force stays.
 */
import { metadataText, refusalText } from '../../kubernetes/answers.ts';
import { resources, verbAndResource, type ApiAnswer, type ApiRequest, type KubernetesApi } from '../../kubernetes/api.ts';
import { mapAt, textAt, type Json } from '../../kubernetes/json.ts';
import { componentLabel, leaseNamePrefix, programmedRevisionAnnotation, realserverComponent } from '../../kubernetes/realserver-lease.ts';
import { RetryDelay } from '../../kubernetes/retry-delay.ts';
import type { Clock, Random } from '../../model/clock.ts';
import type { Log } from '../log.ts';
import { Alarm, firstDelay, microTime } from './pace.ts';

export interface RevisionLeaseOptions {
  /** The caller's: the lease does not close it. */
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Where the Lease is: the agent's own namespace. */
  readonly namespace: string;
  /** Name of this node. */
  readonly node: string;
  /** Between two renewals. Default 10 s. */
  readonly renewMilliseconds?: number;
  /** Pressing revisions are written no more often than this. Default 250 ms. */
  readonly paceMilliseconds?: number;
}

export interface RevisionLeaseStatus {
  /** `namespace/name` */
  readonly lease: string;
  /** The newest revision told to {@link RevisionLease.programmed}; null before the first. */
  readonly programmed: number | null;
  /** What the API server has acknowledged last; null when the Lease says that nothing is programmed, or was not written yet. */
  readonly confirmed: number | null;
  /** Since the API server acknowledged a write, milliseconds; null before the first time. */
  readonly silentMilliseconds: number | null;
  /** Failures since the last success. */
  readonly failures: number;
  /** Why the last attempt failed; null when it did not. */
  readonly error: string | null;
}

const lease = resources.leases;
/** Told to whoever looks at the Lease: after this long without a renewal, nobody is there. Three renewals and a bit. */
const leaseDurationSeconds = 40;
/** A conflict is settled by reading again; more often than this in one go, somebody fights about the Lease. */
const roundsAtOnce = 3;

/** What the Lease is, as far as it is known. */
interface Known {
  /** As the server has it: what others wrote there (labels, owners) stays. */
  readonly metadata: Json;
  readonly acquireTime: string | undefined;
}

class LeaseRefused extends Error {
  readonly retryAfterSeconds: number | undefined;

  constructor(message: string, retryAfterSeconds?: number) {
    super(message);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export class RevisionLease {
  readonly #options: Required<RevisionLeaseOptions>;
  readonly #name: string;
  readonly #alarm: Alarm;
  readonly #delay: RetryDelay;
  #known: Known | undefined;
  #programmed: number | undefined;
  #pressing = false;
  #confirmed: number | undefined;
  /** When the last attempt began; on the clock, as all moments here. */
  #began = Number.NEGATIVE_INFINITY;
  #retryAt: number | undefined;
  #acknowledgedAt: number | undefined;
  #failures = 0;
  #error: string | undefined;

  constructor(options: RevisionLeaseOptions) {
    this.#options = { renewMilliseconds: 10_000, paceMilliseconds: 250, ...options };
    this.#name = `${leaseNamePrefix}${options.node}`;
    this.#alarm = new Alarm(options.clock);
    this.#delay = new RetryDelay(options.random, firstDelay);
  }

  /**
   * All EndpointSlices up to `revision` are in the kernel. Returns at once. `pressing` when a director may wait for it (a
   * Service with a ready pod on this node was touched): it is then written now, else with the next renewal.
   */
  programmed(revision: number, pressing = true): void {
    this.#programmed = revision;
    if (!pressing || revision === this.#confirmed) return;
    this.#pressing = true;
    this.#alarm.ring();
  }

  /**
   * Keeps the Lease until the signal aborts. It is not deleted at the end: what is programmed stays so. Until the first
   * revision is told, the Lease says that nothing is programmed: after a reboot the kernel is empty, whatever it said before.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const milliseconds = this.#due() - clock.now();
      if (milliseconds > 0) await this.#alarm.sleep(milliseconds, signal);
      else await this.#write(signal);
    }
  }

  status(): RevisionLeaseStatus {
    const { clock, namespace } = this.#options;
    return {
      lease: `${namespace}/${this.#name}`,
      programmed: this.#programmed ?? null,
      confirmed: this.#confirmed ?? null,
      silentMilliseconds: this.#acknowledgedAt === undefined ? null : clock.now() - this.#acknowledgedAt,
      failures: this.#failures,
      error: this.#error ?? null,
    };
  }

  #due(): number {
    const { renewMilliseconds, paceMilliseconds } = this.#options;
    return this.#retryAt ?? this.#began + (this.#pressing ? paceMilliseconds : renewMilliseconds);
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const revision = this.#programmed;
    this.#began = clock.now();
    this.#pressing = false;
    try {
      await this.#settle(revision, signal);
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
      return;
    }
    if (this.#failures > 0)
      log.info('the Lease is written again', { lease: `${this.#options.namespace}/${this.#name}`, failures: this.#failures });
    this.#confirmed = revision;
    this.#acknowledgedAt = clock.now();
    this.#retryAt = undefined;
    this.#failures = 0;
    this.#error = undefined;
    this.#delay.succeed();
  }

  #failed(error: unknown): void {
    const { clock, log, namespace } = this.#options;
    const message = error instanceof Error ? error.message : String(error);
    const asked = error instanceof LeaseRefused ? error.retryAfterSeconds : undefined;
    this.#retryAt = clock.now() + this.#delay.fail(asked);
    this.#failures += 1;
    // The same failure again says nothing new; status has it.
    if (message !== this.#error) {
      log.warn('the Lease cannot be written: directors wait for --readiness-timeout before they send traffic to new pods here', {
        ...{ lease: `${namespace}/${this.#name}`, error: message },
      });
    }
    this.#error = message;
  }

  /** Makes the Lease say `revision`, whatever it says now. */
  async #settle(revision: number | undefined, signal: AbortSignal): Promise<void> {
    for (let round = 0; round < roundsAtOnce; round += 1) {
      this.#known ??= await this.#read(signal);
      const known = this.#known;
      const answer = await this.#send(known === undefined ? 'POST' : 'PUT', known, revision, signal);
      this.#known = undefined;
      if (answer.status >= 200 && answer.status < 300) {
        this.#known = knownOf(answer.body);
        return;
      }
      // Another wrote first, or it was deleted: look again.
      const verb = known === undefined ? 'create' : 'update';
      if (answer.status !== 409 && !(answer.status === 404 && verb === 'update')) throw refused(verb, answer);
    }
    throw new LeaseRefused(`${verbAndResource('update', lease)}: somebody else writes it, too (${roundsAtOnce} conflicts)`);
  }

  async #read(signal: AbortSignal): Promise<Known | undefined> {
    const answer = await this.#request({ method: 'GET', name: this.#name, signal });
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw refused('get', answer);
    const known = knownOf(answer.body);
    if (known === undefined) throw new LeaseRefused(`${verbAndResource('get', lease)}: the answer has no resourceVersion`);
    return known;
  }

  #send(method: 'POST' | 'PUT', known: Known | undefined, revision: number | undefined, signal: AbortSignal): Promise<ApiAnswer> {
    const { clock, namespace, node } = this.#options;
    const now = microTime(clock.date());
    const { managedFields: _, ...metadata } = known?.metadata ?? {};
    const body = {
      ...{ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' },
      metadata: {
        ...{ ...metadata, name: this.#name, namespace },
        labels: { ...mapAt(metadata, 'labels'), [componentLabel]: realserverComponent },
        annotations: {
          ...mapAt(metadata, 'annotations'),
          // Undefined is left out of JSON.
          [programmedRevisionAnnotation]: revision === undefined ? undefined : String(revision),
        },
      },
      spec: { holderIdentity: node, leaseDurationSeconds, acquireTime: known?.acquireTime ?? now, renewTime: now },
    };
    return this.#request({ method, body, signal, ...(method === 'PUT' ? { name: this.#name } : {}) });
  }

  #request(request: Pick<ApiRequest, 'method' | 'name' | 'body' | 'signal'>): Promise<ApiAnswer> {
    const { api, namespace } = this.#options;
    return api.request({ ...request, resource: lease, namespace, urgent: true });
  }
}

function refused(verb: string, answer: ApiAnswer): LeaseRefused {
  return new LeaseRefused(refusalText(verbAndResource(verb, lease), answer), answer.retryAfterSeconds);
}

/** Undefined when the answer does not say which version it is: then it is read again. */
function knownOf(object: unknown): Known | undefined {
  if (metadataText(object, 'resourceVersion') === undefined) return undefined;
  return { metadata: mapAt(object, 'metadata'), acquireTime: textAt(mapAt(object, 'spec'), 'acquireTime') };
}
