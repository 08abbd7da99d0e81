/** What can be said of an answer that is no success. */
import type { ApiAnswer } from './api.ts';
import { mapAt, serverWords, textAt } from './json.ts';

/** A text of an object's metadata; undefined where there is none. */
export function metadataText(object: unknown, field: 'resourceVersion' | 'uid'): string | undefined {
  const text = textAt(mapAt(object, 'metadata'), field);
  return text === '' ? undefined : text;
}

/** `status.reason` of a Status object: `AlreadyExists`, `Expired`, … */
export function statusReason({ body }: ApiAnswer): string | undefined {
  return textAt(body, 'reason');
}

const words: ReadonlyMap<number, string> = new Map([
  [401, 'not authenticated'],
  [403, 'forbidden'],
  [404, 'not found'],
  [409, 'conflict'],
  [410, 'expired'],
  [422, 'refused as invalid'],
  [429, 'too many requests'],
]);

/** `forbidden (403)`. */
export function whatHappened(status: number): string {
  return `${words.get(status) ?? 'failed'} (${status})`;
}

/** `create leases.coordination.k8s.io: forbidden (403): the server's words`. `what` is verbAndResource(). */
export function refusalText(what: string, answer: ApiAnswer): string {
  return `${what}: ${whatHappened(answer.status)}${serverWords(answer.body)}`;
}
