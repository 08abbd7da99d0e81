/** A plain client of the Kubernetes API with an administrator's certificate; independent of the product's. */
import { Agent, request } from 'node:https';
import type { IncomingMessage } from 'node:http';

/** What is sent and received: objects of the Kubernetes API, not described further here. */
export type ApiObject = Record<string, unknown>;

/** How the API server is reached and who we are; a path of a Unix socket goes before host and port. */
export interface ClientOptions {
  readonly host: string;
  readonly port: number;
  readonly socketPath?: string;
  /** PEM texts. */
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

export class ApiRefusal extends Error {
  override readonly name = 'ApiRefusal';
  readonly status: number;
  readonly reason: string;

  constructor(what: string, status: number, body: string) {
    super(`${what}: ${status} ${body.slice(0, 2000)}`);
    this.status = status;
    this.reason = (/"reason":\s*"(\w+)"/.exec(body) ?? [])[1] ?? '';
  }
}

const JSON_PATCH_TYPES = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

export class ApiClient {
  readonly #options: ClientOptions;
  readonly #agent: Agent;

  constructor(options: ClientOptions) {
    this.#options = options;
    const { authority, certificate, key } = options;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 8, ca: authority, cert: certificate, key });
  }

  /** The answer's text; throws {@link ApiRefusal} for anything but 2xx. */
  text(method: string, path: string, body?: unknown, contentType = 'application/json'): Promise<string> {
    const { host, port, socketPath } = this.#options;
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const headers = payload === undefined ? {} : { 'content-type': contentType, 'content-length': Buffer.byteLength(payload) };
    const place = socketPath === undefined ? { host, port } : { host, socketPath };
    return new Promise((resolve, reject) => {
      const onAnswer = (answer: IncomingMessage): void => {
        let text = '';
        answer
          .setEncoding('utf8')
          .on('data', (part: string) => (text += part))
          .on('error', reject)
          .on('end', () => {
            const status = answer.statusCode ?? 0;
            if (status >= 200 && status < 300) resolve(text);
            else reject(new ApiRefusal(`${method} ${path}`, status, text));
          });
      };
      const sent = request({ ...place, method, path, headers, agent: this.#agent, timeout: 30_000 }, onAnswer);
      sent.on('timeout', () => sent.destroy(new Error(`${method} ${path}: no answer within 30 s`)));
      sent.on('error', reject).end(payload);
    });
  }

  async json(method: string, path: string, body?: unknown, contentType?: string): Promise<ApiObject> {
    return JSON.parse(await this.text(method, path, body, contentType)) as ApiObject;
  }

  get(path: string): Promise<ApiObject> {
    return this.json('GET', path);
  }

  post(path: string, body: ApiObject): Promise<ApiObject> {
    return this.json('POST', path, body);
  }

  put(path: string, body: ApiObject): Promise<ApiObject> {
    return this.json('PUT', path, body);
  }

  patch(path: string, body: ApiObject, type: keyof typeof JSON_PATCH_TYPES = 'merge'): Promise<ApiObject> {
    return this.json('PATCH', path, body, JSON_PATCH_TYPES[type]);
  }

  /** With `options` as the body of the deletion: grace period, preconditions. */
  delete(path: string, options?: ApiObject): Promise<ApiObject> {
    return this.json('DELETE', path, options);
  }

  close(): void {
    this.#agent.destroy();
  }
}
