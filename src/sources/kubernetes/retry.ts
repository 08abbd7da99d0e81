/** When to try again, and why it is needed. */
import { refusalText, whatHappened } from '../../kubernetes/answers.ts';
import type { ApiAnswer } from '../../kubernetes/api.ts';
import { isMap, mapAt, serverWords, textAt } from '../../kubernetes/json.ts';
import type { Clock } from '../../model/clock.ts';

/** Resolves after the time, or at once when the signal aborts. */
export function wait(clock: Clock, milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = clock.after(milliseconds, end);
    signal.addEventListener('abort', end, { once: true });
  });
}

/** What a failure leaves of a watch: `resume` goes on from the last version, `relist` cannot. */
export type Remedy = 'resume' | 'relist';

interface FailureDetails {
  /** The versions asked for are gone: the server works, it only forgot. */
  readonly expired?: boolean;
  /** The server itself said no: it can be reached. */
  readonly answered?: boolean;
  readonly retryAfterSeconds?: number | undefined;
}

/** A list or a watch did not work; the message names verb and resource. */
export class WatchFailure extends Error {
  override readonly name = 'WatchFailure';
  readonly remedy: Remedy;
  readonly details: FailureDetails;

  constructor(message: string, remedy: Remedy, details: FailureDetails = {}) {
    super(message);
    this.remedy = remedy;
    this.details = details;
  }
}

/** What the transport threw, whatever its class, is waited out. */
export function broken(what: string, error: unknown): WatchFailure {
  return new WatchFailure(`${what}: ${error instanceof Error ? error.message : String(error)}`, 'resume');
}

/** An answer that nobody can make sense of: only a new list can tell what is true. */
export function nonsense(what: string, message: string): WatchFailure {
  return new WatchFailure(`${what}: ${message}`, 'relist', { answered: true });
}

/** An HTTP answer that is no success. */
export function refusal(what: string, answer: ApiAnswer): WatchFailure {
  const expired = answer.status === 410;
  return new WatchFailure(refusalText(what, answer), expired ? 'relist' : 'resume', {
    ...{ expired, answered: true, retryAfterSeconds: answer.retryAfterSeconds },
  });
}

/** An ERROR inside a watch: its object is a Status (Kubernetes API concepts, "410 Gone responses"). */
export function streamError(what: string, status: unknown): WatchFailure {
  const code = isMap(status) && typeof status['code'] === 'number' ? status['code'] : 0;
  const reason = textAt(status, 'reason');
  const expired = code === 410 || reason === 'Expired' || reason === 'Gone';
  const seconds = mapAt(status, 'details')['retryAfterSeconds'];
  const message = `${what}: ${whatHappened(expired ? 410 : code)}${serverWords(status)}`;
  return new WatchFailure(message, expired ? 'relist' : 'resume', {
    ...{ expired, answered: true, retryAfterSeconds: typeof seconds === 'number' ? seconds : undefined },
  });
}
