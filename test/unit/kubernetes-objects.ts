/** Just enough of an API server, in memory, for what writes to it: create, read, replace, merge, versions, and faults on demand. */
import type { ApiAnswer, ApiRequest, ApiStream, KubernetesApi } from '../../src/kubernetes/api.ts';
import type { Fields, Log } from '../../src/observe/log.ts';

export type Call = ApiRequest & { readonly urgent?: boolean };

export interface StoredObject {
  apiVersion?: string;
  kind?: string;
  metadata: { name: string; namespace?: string; resourceVersion?: string; uid?: string; [field: string]: unknown };
  [field: string]: unknown;
}

/** What happens instead of an answer; undefined: nothing, the call goes through. */
export type Fault = (call: Call) => Promise<ApiAnswer | undefined> | ApiAnswer | Error | undefined;

export const answer = (status: number, body: unknown = {}, retryAfterSeconds?: number): ApiAnswer => ({ status, body, retryAfterSeconds });

export const status = (code: number, message: string, reason?: string): ApiAnswer =>
  answer(code, { kind: 'Status', code, message, reason });

export class ObjectsApi implements KubernetesApi {
  readonly server = 'https://192.0.2.1:443';
  readonly calls: Call[] = [];
  readonly objects = new Map<string, StoredObject>();
  fault: Fault = () => undefined;
  /** Runs after a call was answered, before the caller hears of it. */
  afterwards: (call: Call) => void = () => {};
  #version = 100;
  underWay = 0;
  mostUnderWay = 0;

  put(plural: string, object: StoredObject): StoredObject {
    const stored = structuredClone(object);
    stored.metadata.resourceVersion = String((this.#version += 1));
    stored.metadata.uid ??= `uid-${this.#version}`;
    this.objects.set(`${plural} ${stored.metadata.namespace ?? ''}/${stored.metadata.name}`, stored);
    return stored;
  }

  get(plural: string, key: string): StoredObject | undefined {
    return this.objects.get(`${plural} ${key}`);
  }

  all(plural: string): StoredObject[] {
    return [...this.objects].filter(([key]) => key.startsWith(`${plural} `)).map(([, object]) => object);
  }

  /** `GET leases`, `POST leases`, … */
  get log(): string[] {
    return this.calls.map(({ method, resource }) => `${method} ${resource.resource}`);
  }

  async request(call: Call): Promise<ApiAnswer> {
    // As JSON, because that is what a server gets.
    this.calls.push({ ...call, body: call.body === undefined ? undefined : (JSON.parse(JSON.stringify(call.body)) as unknown) });
    this.underWay += 1;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
    try {
      const fault = await this.fault(call);
      if (fault instanceof Error) throw fault;
      const result = fault ?? this.#serve(this.calls.at(-1) ?? call);
      this.afterwards(call);
      return structuredClone(result);
    } finally {
      this.underWay -= 1;
    }
  }

  stream(): Promise<ApiStream> {
    return Promise.reject(new Error('nobody watches here'));
  }

  close(): void {}

  #serve({ method, resource, namespace = '', name, body, contentType }: Call): ApiAnswer {
    const plural = resource.resource;
    const object = body as StoredObject | undefined;
    const key = `${plural} ${namespace}/${name ?? object?.metadata.name ?? ''}`;
    const found = this.objects.get(key);
    if (method === 'POST' && object !== undefined) {
      if (found !== undefined) return status(409, `${key} already exists`, 'AlreadyExists');
      return answer(201, this.put(plural, object));
    }
    if (found === undefined) return status(404, `${key} not found`, 'NotFound');
    if (method === 'GET') return answer(200, found);
    if (method === 'PUT' && object !== undefined) {
      if (object.metadata.resourceVersion !== found.metadata.resourceVersion)
        return status(409, 'the object has been modified', 'Conflict');
      return answer(200, this.put(plural, object));
    }
    if (method === 'PATCH' && contentType === 'application/merge-patch+json') {
      return answer(200, this.put(plural, { ...found, ...object, metadata: found.metadata }));
    }
    return status(405, 'not allowed');
  }
}

/** Lines by level; `warn the message`. */
export class Lines implements Log {
  readonly lines: string[] = [];
  readonly fields: Fields[] = [];
  readonly debugging = false;

  #line(level: string, message: string, fields: Fields = {}): void {
    this.lines.push(`${level} ${message}`);
    this.fields.push(fields);
  }

  debug(message: string, fields?: Fields): void {
    this.#line('debug', message, fields);
  }
  info(message: string, fields?: Fields): void {
    this.#line('info', message, fields);
  }
  warn(message: string, fields?: Fields): void {
    this.#line('warn', message, fields);
  }
  error(message: string, fields?: Fields): void {
    this.#line('error', message, fields);
  }
}
