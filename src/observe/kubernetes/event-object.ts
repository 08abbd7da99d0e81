/** What an Event of the API looks like. */
import { createHash } from 'node:crypto';
import { microTime } from './pace.ts';

/** What an Event is about. */
export interface EventSubject {
  readonly kind: 'Service' | 'ConfigMap';
  readonly namespace: string;
  readonly name: string;
  /** Tells several matters of one object apart: `tcp 192.0.2.10:80`, a path in the configuration. Default "". */
  readonly matter?: string;
}

export interface EventReason {
  /** CamelCase, stable: `NoEndpoints`. At most 128 characters. */
  readonly code: string;
  /** For people; cut off at 1024 bytes. */
  readonly message: string;
  /** Default `Warning`. */
  readonly type?: 'Normal' | 'Warning';
}

/** A qualified name, as the API wants it. */
const reportingController = 'ravel.io/agent';
const action = 'Programming';
/** validation of events.k8s.io/v1: noteLengthLimit, ReportingInstanceLengthLimit. */
const longestNote = 1024;
const longestInstance = 128;
/** The hash and a dot come behind; names of objects have at most 253 characters. */
const longestNamePart = 230;

/** @param written who writes it when, the name to write it under, and the object's uid where it is known */
export function eventObject(
  { kind, namespace, name }: EventSubject,
  { code, message, type = 'Warning' }: EventReason,
  written: { readonly name: string; readonly uid: string | undefined; readonly instance: string; readonly date: Date },
): Readonly<Record<string, unknown>> {
  return {
    ...{ apiVersion: 'events.k8s.io/v1', kind: 'Event', metadata: { name: written.name, namespace } },
    ...{ eventTime: microTime(written.date), action, reason: code, type, note: cutToBytes(message, longestNote) },
    regarding: { apiVersion: 'v1', kind, namespace, name, uid: written.uid },
    ...{ reportingController, reportingInstance: written.instance.slice(0, longestInstance) },
  };
}

/** The same for all directors and at all times; another when the object was made anew, or the words changed: an Event's note is for ever. */
export function eventName(
  { kind, namespace, name, matter = '' }: EventSubject,
  { code, message }: EventReason,
  uid: string | undefined,
): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([kind, namespace, name, uid ?? '', matter, code, message]))
    .digest('hex');
  return `${name.slice(0, longestNamePart).replace(/[^a-z0-9]+$/, '')}.${hash.slice(0, 16)}`;
}

/** At most `most` bytes of UTF-8, characters whole. */
function cutToBytes(text: string, most: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= most) return text;
  let end = most - 3;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return `${bytes.toString('utf8', 0, end)}...`;
}
