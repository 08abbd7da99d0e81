/** What can be said of an answer that is no success. The server's words are not trusted: one line, and not long. */
import type { ApiAnswer } from './api.ts';

const longestMessage = 500;

export type Json = Readonly<Record<string, unknown>>;

export function isMap(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `metadata` of an object; an empty map where there is none. */
export function metadataOf(object: unknown): Json {
  const metadata = isMap(object) ? object['metadata'] : undefined;
  return isMap(metadata) ? metadata : {};
}

/** A text of an object's metadata; undefined where there is none. */
export function metadataText(object: unknown, field: 'resourceVersion' | 'uid'): string | undefined {
  const text = metadataOf(object)[field];
  return typeof text === 'string' && text !== '' ? text : undefined;
}

/** `status.reason` of a Status object: `AlreadyExists`, `Expired`, … */
export function statusReason({ body }: ApiAnswer): string | undefined {
  const reason = isMap(body) ? body['reason'] : undefined;
  return typeof reason === 'string' ? reason : undefined;
}

const words: ReadonlyMap<number, string> = new Map([
  [401, 'not authenticated'],
  [403, 'forbidden'],
  [404, 'not found'],
  [409, 'conflict'],
  [422, 'refused as invalid'],
  [429, 'too many requests'],
]);

/** `create leases.coordination.k8s.io: forbidden (403): the server's words`. `what` is verbAndResource(). */
export function refusalText(what: string, answer: ApiAnswer): string {
  const message = isMap(answer.body) ? answer.body['message'] : undefined;
  const said = typeof message === 'string' ? message.slice(0, longestMessage).replace(/[\u0000-\u001f\u007f]+/g, ' ') : '';
  return `${what}: ${words.get(answer.status) ?? 'failed'} (${answer.status})${said === '' ? '' : `: ${said}`}`;
}
