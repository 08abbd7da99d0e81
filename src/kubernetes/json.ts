/** Looks into objects of the API. What an answer holds is not trusted: anything may be missing or of another type. */
export type Json = Readonly<Record<string, unknown>>;

export function isMap(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const none: Json = Object.freeze(Object.create(null) as Record<string, unknown>);

/** The map under `key`, an empty one where there is none. */
export function mapAt(value: unknown, key: string): Json {
  const found = isMap(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return isMap(found) ? found : none;
}

/** The text under `key`; undefined where there is none. */
export function textAt(value: unknown, key: string): string | undefined {
  const found = isMap(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return typeof found === 'string' ? found : undefined;
}

/** The list under `key`, at most `most` items of it; an empty one where there is none. */
export function listAt(value: unknown, key: string, most: number): readonly unknown[] {
  const found = isMap(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  if (!Array.isArray(found)) return [];
  return found.length > most ? (found as unknown[]).slice(0, most) : (found as unknown[]);
}

/** Who an object is, and which version of it this is. */
export interface Identity {
  /** `namespace/name`, or the name alone. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
}

/** Undefined for what is no object of the API: without a name or a version. */
export function identityOf(object: unknown): Identity | undefined {
  const metadata = mapAt(object, 'metadata');
  const name = textAt(metadata, 'name') ?? '';
  const resourceVersion = textAt(metadata, 'resourceVersion') ?? '';
  if (name === '' || resourceVersion === '') return undefined;
  const namespace = textAt(metadata, 'namespace') ?? '';
  const key = namespace === '' ? name : `${namespace}/${name}`;
  return { key, namespace, name, uid: textAt(metadata, 'uid') ?? '', resourceVersion };
}

/**
 * A resourceVersion as the number it is, so that two of one kind can be compared (Kubernetes API concepts, "Resource
 * versions"); NaN for one that is none. etcd counts to 2^63, which at 10,000 writes a second is beyond 2^53 after 28,000 years.
 */
export function revisionOf(resourceVersion: string | undefined): number {
  return resourceVersion !== undefined && /^[1-9][0-9]{0,15}$/.test(resourceVersion) ? Number(resourceVersion) : Number.NaN;
}

/** Characters of a message that are told. */
const longestWords = 400;

/** The server's words as they may stand in a log: cut, and nothing in them that a terminal would obey. */
export function serverWords(body: unknown): string {
  const message = textAt(body, 'message');
  if (message === undefined || message === '') return '';
  return `: ${message.slice(0, longestWords).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')}`;
}
