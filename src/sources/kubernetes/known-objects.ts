/** Which version of which object has been handed over: tells news from repetition, and order from disorder. */
import type { Json } from '../../kubernetes/json.ts';
import { identityOf, mapAt, revisionOf, type Identity } from '../../kubernetes/json.ts';

/** Where objects go as they arrive, reduced to what is needed. A list arrives as what differs from before. */
export interface Sink<Value> {
  put(key: string, value: Value): void;
  remove(key: string): void;
  /** Everything up to this version has been handed over; NaN where versions are no numbers. */
  reached(revision: number): void;
  /** A list is whole and has been handed over. */
  listed(): void;
}

/** What is kept of an object; undefined where nothing is. Never throws, whatever the object is. */
export type Reduce<Value> = (object: Json, identity: Identity) => Value | undefined;

interface Version {
  readonly uid: string;
  readonly resourceVersion: string;
  /** Something was handed over. */
  readonly kept: boolean;
}

/** A list while it is read: nothing of it counts before it is whole. */
export class Listing<Value> {
  readonly versions = new Map<string, Version>();
  readonly news = new Map<string, Value>();
}

export class KnownObjects<Value> {
  readonly #reduce: Reduce<Value>;
  readonly #sink: Sink<Value>;
  #versions = new Map<string, Version>();
  #resourceVersion: string | undefined;
  #trusted = true;

  constructor(reduce: Reduce<Value>, sink: Sink<Value>) {
    this.#reduce = reduce;
    this.#sink = sink;
  }

  get size(): number {
    return this.#versions.size;
  }

  /** Where a watch goes on; undefined before the first list. */
  get resourceVersion(): string | undefined {
    return this.#resourceVersion;
  }

  /** What the server said makes no sense: a version that was seen before may stand for something else now. */
  distrust(): void {
    this.#trusted = false;
  }

  /** One item of a list. False when it is no object. */
  mark(listing: Listing<Value>, item: unknown): boolean {
    const identity = identityOf(item);
    if (identity === undefined) return false;
    const { key, uid, resourceVersion } = identity;
    const known = this.#versions.get(key);
    listing.news.delete(key);
    if (this.#trusted && known?.uid === uid && known.resourceVersion === resourceVersion) {
      listing.versions.set(key, known);
      return true;
    }
    const value = this.#reduce(item as Json, identity);
    listing.versions.set(key, { uid, resourceVersion, kept: value !== undefined });
    if (value !== undefined) listing.news.set(key, value);
    return true;
  }

  /** The list is whole: what it does not have is gone. In one go, so that nobody sees half of it. */
  sweep({ versions, news }: Listing<Value>, resourceVersion: string): void {
    for (const [key, known] of this.#versions) {
      const now = versions.get(key);
      // An object of the same name but another uid is another object: the old one goes, then the new one comes.
      if (known.kept && (now?.kept !== true || now.uid !== known.uid)) this.#sink.remove(key);
    }
    this.#versions = versions;
    this.#trusted = true;
    this.#resourceVersion = resourceVersion;
    for (const [key, value] of news) this.#sink.put(key, value);
    this.#sink.reached(revisionOf(resourceVersion));
    this.#sink.listed();
  }

  /**
   * ADDED, MODIFIED or DELETED. A watch gives versions in order; what comes late or twice is told from what is stored.
   * @returns false when only a new list can tell what is true
   */
  change(object: unknown, deleted: boolean): boolean {
    const identity = identityOf(object);
    if (identity === undefined) return false;
    const { key, uid, resourceVersion } = identity;
    const known = this.#versions.get(key);
    const revision = revisionOf(resourceVersion);
    if (known === undefined) {
      // Older than what was seen already, and not there: its deletion may have been, or its version was skipped.
      if (revision <= revisionOf(this.#resourceVersion)) return deleted;
    } else {
      const last = revisionOf(known.resourceVersion);
      const same = known.uid === uid && known.resourceVersion === resourceVersion;
      if (revision < last || (same && !deleted)) return true;
      if (known.kept && (deleted || known.uid !== uid)) this.#sink.remove(key);
    }
    if (deleted) this.#versions.delete(key);
    else this.#store(key, object as Json, identity, known?.kept === true && known.uid === uid);
    this.#advance(resourceVersion);
    return true;
  }

  #store(key: string, object: Json, identity: Identity, wasKept: boolean): void {
    const value = this.#reduce(object, identity);
    this.#versions.set(key, { uid: identity.uid, resourceVersion: identity.resourceVersion, kept: value !== undefined });
    if (value !== undefined) this.#sink.put(key, value);
    else if (wasKept) this.#sink.remove(key);
  }

  /**
   * BOOKMARK: nothing happened up to this version.
   * @returns false when the server has gone back in time (etcd was restored): only a new list can tell what is true
   */
  bookmark(object: unknown): boolean {
    const resourceVersion = mapAt(object, 'metadata')['resourceVersion'];
    if (typeof resourceVersion !== 'string' || resourceVersion === '') return false;
    if (revisionOf(resourceVersion) < revisionOf(this.#resourceVersion)) return false;
    this.#advance(resourceVersion);
    return true;
  }

  /** Never backwards: a late event does not make the ones after it unseen. */
  #advance(resourceVersion: string): void {
    const revision = revisionOf(resourceVersion);
    if (revision <= revisionOf(this.#resourceVersion)) return;
    this.#resourceVersion = resourceVersion;
    this.#sink.reached(revision);
  }
}
