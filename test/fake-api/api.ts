/** An API server in memory, behind the very port that the agent uses, on a clock of the test's. */
import { ApiTransportError } from '../../src/kubernetes/api.ts';
import type { ApiAnswer, ApiRequest, ApiStream, KubernetesApi } from '../../src/kubernetes/api.ts';
import type { Clock } from '../../src/model/clock.ts';
import { Faults, refuse, type Fault, type Verb } from './faults.ts';
import type { ApiObject } from './objects.ts';
import { ExpiredError, keyOf, Store, type Matcher, type StoredObject } from './store.ts';
import { FakeWatch } from './watch.ts';

/** A request as it was received. */
export interface Received {
  readonly at: number;
  readonly verb: Verb;
  readonly resource: string;
}

/** A client gives up waiting for an answer after this long (see KubernetesApi). */
const answerMilliseconds = 30_000;

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** JSON merge patch, RFC 7396. */
function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return patch;
  const result: Record<string, unknown> = isMap(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(result, key);
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

/** `metadata.name=a` and `key=value,other=value`, which is all that is asked for here. */
function matcherOf({ namespace, query = {} }: ApiRequest): Matcher {
  const name = /^metadata\.name=(.+)$/.exec(query['fieldSelector'] ?? '')?.[1];
  const labels = (query['labelSelector'] ?? '').split(',').flatMap((pair) => (pair === '' ? [] : [pair.split('=', 2)]));
  return ({ metadata }) =>
    (namespace === undefined || metadata.namespace === namespace) &&
    (name === undefined || metadata.name === name) &&
    labels.every(([key = '', value]) => metadata.labels?.[key] === value);
}

const writeVerbs = { POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' } as const;

export class FakeApi implements KubernetesApi {
  readonly server = 'fake://api';
  readonly store: Store;
  readonly faults = new Faults();
  readonly watches = new Set<FakeWatch>();
  readonly received: Received[] = [];
  /** Most watches that were ever open at the same time. */
  mostWatches = 0;
  /** Nobody answers, and open connections have broken. */
  #down = false;
  /** A server may give fewer than it is asked for. */
  pageSize = Number.POSITIVE_INFINITY;
  /** Whether a watch from a version that is gone is refused, or opens and says so. */
  goneAs: 'http' | 'stream' = 'http';
  /** Called after each page but the last. */
  onPage: (() => void) | undefined;
  readonly #clock: Clock;

  constructor(clock: Clock, store = new Store()) {
    this.#clock = clock;
    this.store = store;
    store.listen((resource, event) => {
      for (const watch of this.watches) if (watch.resource === resource) watch.event(event);
    });
  }

  get down(): boolean {
    return this.#down;
  }

  set down(down: boolean) {
    this.#down = down;
    if (down) for (const watch of [...this.watches]) watch.break('ECONNRESET');
  }

  close(): void {
    for (const watch of [...this.watches]) watch.break('ECONNRESET');
  }

  async request(request: ApiRequest & { readonly urgent?: boolean }): Promise<ApiAnswer> {
    const { method, name, resource } = request;
    const verb = method === 'GET' ? (name === undefined ? 'list' : 'get') : writeVerbs[method];
    const fault = this.#receive(verb, request);
    const refused = await this.#suffer(fault, request.signal);
    if (refused !== undefined) return refused;
    if (this.faults.isForbidden(verb, resource.resource)) return this.#forbid(verb, request);
    switch (method) {
      case 'GET':
        return name === undefined ? this.#list(request) : this.#get(request);
      case 'POST':
        return this.#create(request);
      case 'PUT':
      case 'PATCH':
        return this.#update(request);
      case 'DELETE':
        return this.#delete(request);
    }
  }

  #receive(verb: Verb, { resource, signal }: ApiRequest): Fault | undefined {
    if (signal?.aborted === true) throw new ApiTransportError('ABORT_ERR', 'the request was aborted');
    this.received.push({ at: this.#clock.now(), verb, resource: resource.resource });
    if (this.#down) throw new ApiTransportError('ECONNREFUSED', 'connect ECONNREFUSED');
    return this.faults.take(verb, resource.resource);
  }

  /** What a fault makes of a request: an answer, an error, or nothing but a delay. */
  async #suffer(fault: Fault | undefined, signal: AbortSignal | undefined): Promise<ApiAnswer | undefined> {
    if (fault === undefined) return undefined;
    if ('status' in fault) return refuse(fault.status, 'scripted', fault.retryAfterSeconds);
    if ('code' in fault) throw new ApiTransportError(fault.code, `scripted ${fault.code}`);
    if ('body' in fault) return { status: 200, retryAfterSeconds: undefined, body: fault.body };
    if ('delay' in fault) await this.#wait(fault.delay, signal);
    return undefined;
  }

  #wait(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        timer.cancel();
        reject(new ApiTransportError('ABORT_ERR', 'the request was aborted'));
      };
      const timer = this.#clock.after(Math.min(milliseconds, answerMilliseconds), () => {
        signal?.removeEventListener('abort', abort);
        if (this.#down) reject(new ApiTransportError('ECONNRESET', 'the connection broke'));
        else if (milliseconds >= answerMilliseconds) reject(new ApiTransportError('ETIMEDOUT', 'no answer within 30 s'));
        else resolve();
      });
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  #forbid(verb: Verb, { resource, namespace }: ApiRequest): ApiAnswer {
    const where = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`;
    const message = `${resource.resource} is forbidden: User "fake" cannot ${verb} resource "${resource.resource}" in API group "${resource.group}" ${where}`;
    return refuse(403, message);
  }

  #list(request: ApiRequest): ApiAnswer {
    const { query = {}, resource } = request;
    const limit = Math.min(Number(query['limit'] ?? '0') || Number.POSITIVE_INFINITY, this.pageSize);
    try {
      const page = this.store.list(resource, matcherOf(request), Number.isFinite(limit) ? limit : 0, query['continue'] ?? '');
      if (page.token !== '') this.onPage?.();
      const metadata = { resourceVersion: String(page.revision), ...(page.token === '' ? {} : { continue: page.token }) };
      // As Go writes an empty list.
      const items = page.items.length === 0 ? null : page.items;
      return { status: 200, retryAfterSeconds: undefined, body: { kind: 'List', apiVersion: 'v1', metadata, items } };
    } catch (error) {
      if (error instanceof ExpiredError) return refuse(410, error.message);
      throw error;
    }
  }

  #key({ namespace, name = '' }: ApiRequest): string {
    return keyOf({ name, ...(namespace === undefined ? {} : { namespace }) });
  }

  #get(request: ApiRequest): ApiAnswer {
    const object = this.store.get(request.resource, this.#key(request));
    return object === undefined ? refuse(404, 'not found') : { status: 200, retryAfterSeconds: undefined, body: object };
  }

  #create({ resource, namespace, body }: ApiRequest): ApiAnswer {
    if (!isMap(body) || !isMap(body['metadata'])) return refuse(400, 'not an object');
    const metadata = { ...body['metadata'], ...(namespace === undefined ? {} : { namespace }) } as unknown as ApiObject['metadata'];
    if (this.store.get(resource, keyOf(metadata)) !== undefined) return refuse(409, 'already exists');
    return { status: 201, retryAfterSeconds: undefined, body: this.store.put(resource, { ...body, metadata }) };
  }

  #update(request: ApiRequest): ApiAnswer {
    const { resource, namespace, name = '', body, contentType = '' } = request;
    const old = this.store.get(resource, this.#key(request));
    // Applying creates what is not there; any other patch does not.
    if (old === undefined && !contentType.startsWith('application/apply-patch')) return refuse(404, 'not found');
    const version = isMap(body) && isMap(body['metadata']) ? body['metadata']['resourceVersion'] : undefined;
    if (old !== undefined && version !== undefined && version !== old.metadata.resourceVersion) return refuse(409, 'changed meanwhile');
    const next = (request.method === 'PUT' ? body : mergePatch(old ?? {}, body)) as ApiObject;
    const metadata = { ...next.metadata, name, ...(namespace === undefined ? {} : { namespace }) };
    const stored = this.store.put(resource, { ...next, metadata });
    return { status: old === undefined ? 201 : 200, retryAfterSeconds: undefined, body: stored };
  }

  #delete(request: ApiRequest): ApiAnswer {
    const removed = this.store.remove(request.resource, this.#key(request));
    return removed === undefined ? refuse(404, 'not found') : { status: 200, retryAfterSeconds: undefined, body: removed };
  }

  async stream(request: ApiRequest & { readonly idleMilliseconds: number }): Promise<ApiStream> {
    const { resource, query = {}, idleMilliseconds, signal } = request;
    const fault = this.#receive('watch', request);
    const nobody = {
      documents: {
        [Symbol.asyncIterator]: (): AsyncIterator<unknown> => ({ next: () => Promise.resolve({ done: true, value: undefined }) }),
      },
    };
    const refused = await this.#suffer(fault, signal);
    if (refused !== undefined && refused.status !== 200) return { refused, ...nobody };
    if (this.faults.isForbidden('watch', resource.resource)) return { refused: this.#forbid('watch', request), ...nobody };
    if (signal?.aborted === true) throw new ApiTransportError('ABORT_ERR', 'the request was aborted');
    const matches = matcherOf(request);
    const watch: FakeWatch = new FakeWatch({
      ...{ clock: this.#clock, resource: resource.resource, matches, idleMilliseconds, signal },
      bookmarks: query['allowWatchBookmarks'] === 'true',
      timeoutSeconds: Number(query['timeoutSeconds'] ?? '1800'),
      revision: () => this.store.revision,
      onClosed: () => void this.watches.delete(watch),
    });
    this.watches.add(watch);
    this.mostWatches = Math.max(this.mostWatches, this.watches.size);
    if (refused !== undefined) watch.send(refused.body);
    if (fault !== undefined && 'document' in fault) watch.send(fault.document);
    if (fault !== undefined && 'ends' in fault) watch.end();
    const since = this.#since(request);
    if (since === undefined) {
      if (this.goneAs === 'stream') watch.error(410, 'too old resource version');
      else {
        watch.end();
        return { refused: refuse(410, 'too old resource version'), ...nobody };
      }
    } else for (const event of since) watch.event(event);
    return watch.stream;
  }

  #since({ resource, query = {} }: ApiRequest): ReturnType<Store['since']> | undefined {
    try {
      return this.store.since(resource, Number(query['resourceVersion'] ?? '0'));
    } catch (error) {
      if (error instanceof ExpiredError) return undefined;
      throw error;
    }
  }

  /** The open watches of a resource. */
  watching(resource: string): FakeWatch[] {
    return [...this.watches].filter((watch) => watch.resource === resource);
  }

  /** Objects as a fresh list has them. */
  objects(resource: ApiRequest['resource']): readonly StoredObject[] {
    return this.store.objects(resource);
  }
}
