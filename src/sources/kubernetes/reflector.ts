/**
 * One kind of object, followed by a list and one watch after another. What is known is replaced only by a list that is
 * whole; every failure is told and waited out; a watch goes on where the last one ended.
 */
import { verbAndResource } from '../../kubernetes/api.ts';
import { isMap, mapAt, textAt } from '../../kubernetes/json.ts';
import { RetryDelay } from '../../kubernetes/retry-delay.ts';
import type { Steps } from '../../model/check.ts';
import type { Problem, WatchStatus } from '../../model/cluster.ts';
import { runSliced } from '../../model/slices.ts';
import { KnownObjects, Listing, type Reduce, type Sink } from './known-objects.ts';
import { broken, nonsense, refusal, streamError, wait, WatchFailure } from './retry.ts';
import { runWatch, shortestWatch, type Following } from './watch.ts';

export interface ReflectorOptions<Value> extends Following {
  readonly reduce: Reduce<Value>;
  readonly sink: Sink<Value>;
  /** A problem begins, changes its words, or (undefined) is over. */
  readonly onTrouble: (problem: Problem | undefined) => void;
  /** Lets other work have its turn. */
  readonly pause: () => Promise<unknown>;
}

/**
 * Objects of one page: what the event loop can take in one go, since the text of a page is parsed without a pause (`make bench`
 * prints the longest hold).
 */
const pageSize = 250;
/** More objects of one kind than any cluster has: a list that goes on is no list. */
const mostObjects = 1_000_000;
/** Longest run between two pauses while a page is reduced, milliseconds. */
const sliceBudget = 8;
/** What worked for as long as the longest delay works: delays start anew. Milliseconds. */
const stable = 30_000;
/** Watches refused in a row by a server that answers: the version that they ask for may be the cause. */
const mostFruitless = 5;
/** Lists in a row of which a page expired before it was asked for: the next one is asked for in one piece. */
const mostExpiredPages = 2;

export class Reflector<Value> {
  readonly #options: ReflectorOptions<Value>;
  readonly #delay: RetryDelay;
  readonly #known: KnownObjects<Value>;
  #mustList = true;
  #state: WatchStatus['state'] = 'waiting';
  #lists = 0;
  #watches = 0;
  #listedAt = Number.NEGATIVE_INFINITY;
  #heardAt: number | undefined;
  #fruitless = 0;
  #expiredPages = 0;
  #error: string | undefined;

  constructor(options: ReflectorOptions<Value>) {
    this.#options = options;
    this.#delay = new RetryDelay(options.random);
    this.#known = new KnownObjects(options.reduce, options.sink);
  }

  /** A list has been whole once. */
  get listed(): boolean {
    return this.#lists > 0;
  }

  get troubled(): boolean {
    return this.#error !== undefined;
  }

  status(): WatchStatus {
    const { clock, resource } = this.#options;
    return {
      resource: resource.resource,
      state: this.#state,
      objects: this.#known.size,
      resourceVersion: this.#known.resourceVersion ?? null,
      silentMilliseconds: this.#heardAt === undefined ? null : Math.max(0, Math.round(clock.now() - this.#heardAt)),
      lists: this.#lists,
      watches: this.#watches,
      error: this.#error ?? null,
    };
  }

  /** Follows until the signal aborts. Rejects only for what is wrong in this program. */
  async run(signal: AbortSignal): Promise<void> {
    const ended = (): boolean => signal.aborted;
    while (!ended()) {
      try {
        const { resourceVersion } = this.#known;
        if (this.#mustList || resourceVersion === undefined) await this.#list(signal);
        else await this.#watch(resourceVersion, signal);
      } catch (error) {
        if (ended()) break;
        if (!(error instanceof WatchFailure)) throw error;
        await this.#recover(error, signal);
      }
    }
    this.#state = 'waiting';
  }

  async #recover({ message, remedy, details }: WatchFailure, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    if (details.answered === true) this.#heardAt = clock.now();
    const watched = !this.#mustList;
    if (remedy === 'relist') {
      this.#mustList = true;
      if (details.expired !== true) this.#known.distrust();
    } else if (!this.#mustList && details.answered === true) {
      this.#fruitless += 1;
      if (this.#fruitless >= mostFruitless) this.#mustList = true;
    }
    // Versions expire while a connection or a server is down: by itself that is no failure, and the list is asked for at
    // once, also after failures, whose delay would be waited a second time. Not when the last list is as young as that.
    if (details.expired === true && watched && clock.now() - this.#listedAt >= stable) return;
    this.#state = 'waiting';
    this.#trouble(message);
    await wait(clock, this.#delay.fail(details.retryAfterSeconds), signal);
  }

  #trouble(message: string | undefined): void {
    if (message === this.#error) return;
    this.#error = message;
    const { group, resource } = this.#options.resource;
    this.#options.onTrouble(message === undefined ? undefined : { path: group === '' ? resource : `${resource}.${group}`, message });
  }

  /**
   * Reads a new list whole, then hands over what differs. The newest state is asked for, never the one that a lagging
   * server has at hand (resourceVersion=0): after a restart, a state older than the kernel's would take pods away. And a
   * server gives that one in one piece, whatever the limit.
   */
  async #list(signal: AbortSignal): Promise<void> {
    const { clock, pause } = this.#options;
    const what = verbAndResource('list', this.#options.resource);
    this.#state = 'listing';
    const listing = new Listing<Value>();
    const limit: Record<string, string> = this.#expiredPages >= mostExpiredPages ? {} : { limit: String(pageSize) };
    let version: string | undefined;
    let token = '';
    do {
      const body = await this.#page(token === '' ? limit : { ...limit, continue: token }, what, signal);
      const metadata = mapAt(body, 'metadata');
      // The API server writes an empty list as null.
      const items: unknown = isMap(body) && Object.hasOwn(body, 'items') ? (body['items'] ?? []) : undefined;
      const itsVersion = textAt(metadata, 'resourceVersion') ?? '';
      if (!Array.isArray(items) || itsVersion === '') throw nonsense(what, 'the answer is not a list');
      // Of the first page: a watch from there repeats at most what later pages have already.
      version ??= itsVersion;
      // Parsing the page was one long step: others first.
      await pause();
      await runSliced(this.#mark(listing, items, what), { budget: sliceBudget, now: () => clock.now(), pause, signal });
      const following = textAt(metadata, 'continue') ?? '';
      if (following !== '' && (following === token || items.length === 0)) throw nonsense(what, 'its pages do not end');
      if (listing.versions.size > mostObjects) throw nonsense(what, `it has more than ${mostObjects} objects`);
      token = following;
    } while (token !== '');
    signal.throwIfAborted();
    this.#lists += 1;
    this.#listedAt = clock.now();
    this.#mustList = false;
    this.#fruitless = this.#expiredPages = 0;
    this.#known.sweep(listing, version);
  }

  async #page(query: Readonly<Record<string, string>>, what: string, signal: AbortSignal): Promise<unknown> {
    const { api, clock, resource, namespace, query: selectors } = this.#options;
    const where = namespace === undefined ? {} : { namespace };
    const answer = await api
      .request({ method: 'GET', resource, ...where, query: { ...selectors, ...query }, signal })
      .catch((error: unknown) => {
        throw broken(what, error);
      });
    signal.throwIfAborted();
    this.#heardAt = clock.now();
    if (answer.status === 410) this.#expiredPages += 1;
    if (answer.status !== 200) throw refusal(what, answer);
    return answer.body;
  }

  *#mark(listing: Listing<Value>, items: readonly unknown[], what: string): Steps<undefined> {
    for (const item of items) {
      if (!this.#known.mark(listing, item)) throw nonsense(what, 'an item has no name or no version');
      yield;
    }
  }

  async #watch(resourceVersion: string, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    let openedAt = Number.POSITIVE_INFINITY;
    let works = { cancel: (): void => undefined };
    try {
      await runWatch(this.#options, resourceVersion, signal, {
        onOpen: () => {
          this.#state = 'watching';
          this.#watches += 1;
          this.#heardAt = openedAt = clock.now();
          works = clock.after(shortestWatch, () => this.#works());
        },
        onDocument: (document) => {
          this.#heardAt = clock.now();
          this.#take(document);
          this.#works();
        },
      });
    } finally {
      works.cancel();
      if (clock.now() - openedAt >= stable) this.#delay.succeed();
    }
  }

  /** A watch was not only opened: it has been open for a while, or was heard. */
  #works(): void {
    this.#fruitless = 0;
    this.#trouble(undefined);
  }

  #take(document: unknown): void {
    const what = verbAndResource('watch', this.#options.resource);
    const type = textAt(document, 'type');
    const object = mapAt(document, 'object');
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
      case 'DELETED':
        if (!this.#known.change(object, type === 'DELETED')) throw nonsense(what, 'its events are out of order or unreadable');
        return;
      case 'BOOKMARK':
        if (!this.#known.bookmark(object)) throw nonsense(what, 'its versions go backwards');
        return;
      case 'ERROR':
        throw streamError(what, object);
      default:
        throw nonsense(what, 'a document is no event');
    }
  }
}
