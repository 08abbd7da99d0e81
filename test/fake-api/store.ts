/**
 * What etcd and the watch cache are to an API server: objects with one counter of revisions for all, the events that led to
 * them, and an end to how far back those go.
 */
import type { ApiResource } from '../../src/kubernetes/api.ts';
import type { ApiObject, Metadata } from './objects.ts';

export interface StoredObject extends ApiObject {
  readonly metadata: Metadata & { readonly uid: string; readonly resourceVersion: string };
}

export interface StoreEvent {
  readonly revision: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  /** As it is after the event; for DELETED the last it was, with the revision of the deletion. */
  readonly object: StoredObject;
  readonly previous: StoredObject | undefined;
}

export interface Page {
  readonly items: readonly StoredObject[];
  readonly revision: number;
  /** "" for the last one. */
  readonly token: string;
}

/** Selectors of a request, as far as they are used. */
export type Matcher = (object: StoredObject) => boolean;

interface Kind {
  readonly objects: Map<string, StoredObject>;
  log: StoreEvent[];
}

/** The version asked for is not there any more. */
export class ExpiredError extends Error {
  override readonly name = 'ExpiredError';
}

export function keyOf({ name, namespace }: Pick<Metadata, 'name' | 'namespace'>): string {
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`;
}

export class Store {
  readonly #kinds = new Map<string, Kind>();
  readonly #listeners = new Set<(resource: string, event: StoreEvent) => void>();
  readonly #snapshots = new Map<string, { items: readonly StoredObject[]; revision: number }>();
  #revision: number;
  #compacted = 0;
  #uids = 0;
  #tokens = 0;
  /** Events kept of each kind: the watch cache's window. */
  window = 1000;

  constructor(revision = 100) {
    this.#revision = revision;
  }

  get revision(): number {
    return this.#revision;
  }

  #kind(resource: string): Kind {
    let kind = this.#kinds.get(resource);
    if (kind === undefined) this.#kinds.set(resource, (kind = { objects: new Map(), log: [] }));
    return kind;
  }

  listen(listener: (resource: string, event: StoreEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #record(resource: string, event: StoreEvent): void {
    const kind = this.#kind(resource);
    kind.log.push(event);
    if (kind.log.length > this.window) kind.log = kind.log.slice(-this.window);
    for (const listener of this.#listeners) listener(resource, event);
  }

  get({ resource }: ApiResource, key: string): StoredObject | undefined {
    return this.#kind(resource).objects.get(key);
  }

  objects({ resource }: ApiResource): StoredObject[] {
    return [...this.#kind(resource).objects.values()];
  }

  /** Creates or replaces. The uid stays while the object lives. */
  put({ resource }: ApiResource, object: ApiObject): StoredObject {
    const { objects } = this.#kind(resource);
    const key = keyOf(object.metadata);
    const previous = objects.get(key);
    const revision = (this.#revision += 1);
    const uid = previous?.metadata.uid ?? `00000000-0000-4000-8000-${String((this.#uids += 1)).padStart(12, '0')}`;
    const copy = structuredClone(object);
    const stored: StoredObject = { ...copy, metadata: { ...copy.metadata, uid, resourceVersion: String(revision) } };
    objects.set(key, stored);
    this.#record(resource, { revision, type: previous === undefined ? 'ADDED' : 'MODIFIED', object: stored, previous });
    return stored;
  }

  remove({ resource }: ApiResource, key: string): StoredObject | undefined {
    const { objects } = this.#kind(resource);
    const previous = objects.get(key);
    if (previous === undefined) return undefined;
    objects.delete(key);
    const revision = (this.#revision += 1);
    const object = { ...previous, metadata: { ...previous.metadata, resourceVersion: String(revision) } };
    this.#record(resource, { revision, type: 'DELETED', object, previous });
    return previous;
  }

  /** Another object under the same name, as after deleting and creating it between two looks. */
  replace(resource: ApiResource, object: ApiObject): StoredObject {
    this.remove(resource, keyOf(object.metadata));
    return this.put(resource, object);
  }

  /** Forgets all events and all lists that are being read in pages. */
  compact(): void {
    this.#compacted = this.#revision;
    this.#snapshots.clear();
    for (const kind of this.#kinds.values()) kind.log = [];
  }

  /** As after etcd was restored from a copy: the objects are the same, the counter went back. */
  rewind(revision: number): void {
    this.#revision = revision;
    this.#compacted = revision;
    this.#snapshots.clear();
    for (const kind of this.#kinds.values()) {
      kind.log = [];
      for (const [key, object] of kind.objects) {
        kind.objects.set(key, { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } });
      }
    }
  }

  /** A consistent list in pages: what is written between two pages is in none of them. */
  list({ resource }: ApiResource, matches: Matcher, limit: number, token: string): Page {
    let snapshot: { items: readonly StoredObject[]; revision: number } | undefined;
    let offset = 0;
    const [id = '', from = '0'] = token.split(':');
    if (token === '') {
      const items = this.objects({ resource, group: '', version: '' })
        .filter(matches)
        .sort((a, b) => (keyOf(a.metadata) < keyOf(b.metadata) ? -1 : 1));
      snapshot = { items, revision: this.#revision };
    } else {
      snapshot = this.#snapshots.get(id);
      offset = Number(from);
    }
    if (snapshot === undefined) throw new ExpiredError('The provided continue parameter is too old');
    const end = limit > 0 ? offset + limit : snapshot.items.length;
    const more = end < snapshot.items.length;
    const name = id === '' ? `token${(this.#tokens += 1)}` : id;
    if (more) this.#snapshots.set(name, snapshot);
    else this.#snapshots.delete(name);
    return { items: snapshot.items.slice(offset, end), revision: snapshot.revision, token: more ? `${name}:${end}` : '' };
  }

  /** The events after a revision. */
  since({ resource }: ApiResource, revision: number): readonly StoreEvent[] {
    const { log } = this.#kind(resource);
    const oldest = log[0];
    // A log that was cut says nothing about what came before its first event.
    const cut = log.length >= this.window && oldest !== undefined && revision < oldest.revision - 1;
    if (revision < this.#compacted || cut) throw new ExpiredError(`too old resource version: ${revision} (${this.#compacted})`);
    return log.filter((event) => event.revision > revision);
  }
}
