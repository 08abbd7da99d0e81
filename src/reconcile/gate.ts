import type { ClusterState, Publication, StateChange, VirtualServiceKey } from '../model/cluster.ts';

/** What a pass has to look at. */
export interface Work {
  readonly state: ClusterState;
  readonly change: StateChange;
}

/**
 * Holds what has been published and not yet worked on. Closed until the first publication, so that
 * nothing is written, above all nothing deleted, before the source is known to be whole. Many
 * publications between two passes become one piece of work: the newest state, the union of changes.
 */
export class Gate {
  #state: ClusterState | undefined;
  #all = false;
  #keys = new Set<VirtualServiceKey>();
  #confirmed = false;

  get synced(): boolean {
    return this.#state !== undefined;
  }

  get state(): ClusterState | undefined {
    return this.#state;
  }

  /** Something is waiting, and the gate is open. */
  get pending(): boolean {
    return this.#state !== undefined && (this.#all || this.#keys.size > 0);
  }

  publish(publication: Publication): void {
    const first = this.#state === undefined;
    this.#state = publication.state;
    if (first || publication.change.all) this.markAll();
    else {
      this.mark(publication.change.virtualServices);
      this.#confirmed ||= publication.change.confirmed === true;
    }
  }

  /** Realservers have caught up since the last {@link takeConfirmed}. */
  get confirmed(): boolean {
    return this.#confirmed;
  }

  /** Asks for a look at what waits for realservers, if any has caught up. */
  takeConfirmed(awaiting: Iterable<VirtualServiceKey>): void {
    if (this.#confirmed) this.mark(awaiting);
    this.#confirmed = false;
  }

  /** Asks for a whole pass over the state at hand; remembered while the gate is closed. */
  markAll(): void {
    this.#all = true;
    this.#keys.clear();
  }

  mark(keys: Iterable<VirtualServiceKey>): void {
    if (this.#all) return;
    for (const key of keys) this.#keys.add(key);
  }

  /** Takes the waiting work; undefined while closed or when nothing waits. */
  take(): Work | undefined {
    if (this.#state === undefined || !this.pending) return undefined;
    const change: StateChange = this.#all ? { all: true } : { all: false, virtualServices: this.#keys };
    this.#all = false;
    this.#keys = new Set();
    return { state: this.#state, change };
  }
}
