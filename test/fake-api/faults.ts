/** What a test lets go wrong with the next requests, and what is forbidden until it is allowed again. */
import type { ApiAnswer } from '../../src/kubernetes/api.ts';

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

export type Fault =
  /** An answer with this status and a Status object. */
  | { readonly status: number; readonly retryAfterSeconds?: number }
  /** No answer: ECONNREFUSED, ECONNRESET, … */
  | { readonly code: string }
  /** An answer of 200 with this body. */
  | { readonly body: unknown }
  /** The answer comes late, milliseconds; after 30 s the client gives up by itself. */
  | { readonly delay: number }
  /** A watch opens, and its first document is this. */
  | { readonly document: unknown }
  /** A watch opens, and ends at once. */
  | { readonly ends: true };

const reasons: ReadonlyMap<number, string> = new Map([
  [400, 'BadRequest'],
  [401, 'Unauthorized'],
  [403, 'Forbidden'],
  [404, 'NotFound'],
  [409, 'Conflict'],
  [410, 'Expired'],
  [429, 'TooManyRequests'],
  [500, 'InternalError'],
  [503, 'ServiceUnavailable'],
]);

/** A Status object, as the API server puts into refusals and into ERROR events. */
export function statusBody(code: number, message: string): Record<string, unknown> {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason: reasons.get(code) ?? 'Unknown', code };
}

export function refuse(status: number, message: string, retryAfterSeconds?: number): ApiAnswer {
  return { status, retryAfterSeconds, body: statusBody(status, message) };
}

export class Faults {
  readonly #next: { verb: Verb; resource: string; fault: Fault }[] = [];
  readonly #forbidden = new Set<string>();

  /** One request; '*' is any resource. */
  add(verb: Verb, resource: string, fault: Fault): void {
    this.#next.push({ verb, resource, fault });
  }

  take(verb: Verb, resource: string): Fault | undefined {
    const index = this.#next.findIndex((one) => one.verb === verb && (one.resource === resource || one.resource === '*'));
    return index < 0 ? undefined : this.#next.splice(index, 1)[0]?.fault;
  }

  forbid(verb: Verb, resource: string): void {
    this.#forbidden.add(`${verb} ${resource}`);
  }

  allow(verb: Verb, resource: string): void {
    this.#forbidden.delete(`${verb} ${resource}`);
  }

  isForbidden(verb: Verb, resource: string): boolean {
    return this.#forbidden.has(`${verb} ${resource}`);
  }

  heal(): void {
    this.#next.length = 0;
    this.#forbidden.clear();
  }
}
