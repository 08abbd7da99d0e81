/**
 * The API server in memory behind HTTP or HTTPS, on loopback: for what has to go through sockets. Serves the paths of the
 * real one for any group and resource; a bearer token is looked at when one is set.
 */
import { createServer as createHttp, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttps } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { ApiAnswer, ApiMethod, ApiRequest } from '../../src/kubernetes/api.ts';
import { ApiTransportError } from '../../src/kubernetes/api.ts';
import type { Clock } from '../../src/model/clock.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { FakeApi } from './api.ts';
import { refuse } from './faults.ts';
import type { Store } from './store.ts';

export interface FakeServerOptions {
  /** PEM; with them it speaks HTTPS. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Requests without this bearer token get 401. Can be changed while it runs. */
  readonly token?: string;
  /** Default: any free one. */
  readonly port?: number;
  readonly clock?: Clock;
  readonly store?: Store;
}

export interface FakeServer {
  /** `http://127.0.0.1:43210` */
  readonly url: string;
  readonly api: FakeApi;
  /** A client configuration, as the text of a KUBECONFIG file (JSON is YAML). */
  readonly kubeconfig: string;
  setToken(token: string | undefined): void;
  /** Breaks every connection and takes no more. */
  close(): Promise<void>;
}

/** `/api/v1/namespaces/a/services/b`, `/apis/discovery.k8s.io/v1/endpointslices`; undefined for any other path. */
function parsePath(pathname: string): Pick<ApiRequest, 'resource' | 'namespace' | 'name'> | undefined {
  const parts = pathname
    .split('/')
    .filter((part) => part !== '')
    .map(decodeURIComponent);
  const core = parts[0] === 'api';
  if (!core && parts[0] !== 'apis') return undefined;
  const group = core ? '' : (parts[1] ?? '');
  const rest = parts.slice(core ? 1 : 2);
  const [version = '', ...path] = rest;
  const namespaced = path[0] === 'namespaces' && path.length > 2;
  const [resource = '', name] = namespaced ? path.slice(2) : path;
  if (version === '' || resource === '') return undefined;
  return {
    resource: { group, version, resource },
    ...(namespaced && path[1] !== undefined ? { namespace: path[1] } : {}),
    ...(name === undefined ? {} : { name }),
  };
}

async function readBody(incoming: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  return text === '' ? undefined : (JSON.parse(text) as unknown);
}

function answerWith(response: ServerResponse, { status, body, retryAfterSeconds }: ApiAnswer): void {
  const retry = retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) };
  // A body that is text already is sent as it is: that is how a test sends what is not JSON.
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', ...retry }).end(text);
}

async function streamTo(api: FakeApi, request: ApiRequest, response: ServerResponse): Promise<void> {
  const { refused, documents } = await api.stream({ ...request, idleMilliseconds: 2 ** 31 - 1 });
  if (refused !== undefined) {
    answerWith(response, refused);
    return;
  }
  response.writeHead(200, { 'content-type': 'application/json' });
  response.flushHeaders();
  for await (const document of documents) response.write(typeof document === 'string' ? document : `${JSON.stringify(document)}\n`);
  response.end();
}

async function serve(api: FakeApi, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(incoming.url ?? '/', 'http://fake');
  const where = parsePath(url.pathname);
  if (where === undefined) {
    answerWith(
      response,
      url.pathname === '/version' ? { status: 200, retryAfterSeconds: undefined, body: { major: '1' } } : refuse(404, 'no such path'),
    );
    return;
  }
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const query = Object.fromEntries(url.searchParams);
  const method = (incoming.method ?? 'GET') as ApiMethod;
  const body = await readBody(incoming);
  const contentType = incoming.headers['content-type'];
  const request: ApiRequest = {
    ...{ method, ...where, query, body, signal: gone.signal },
    ...(contentType === undefined ? {} : { contentType }),
  };
  if (method === 'GET' && (query['watch'] === '1' || query['watch'] === 'true')) await streamTo(api, request, response);
  else answerWith(response, await api.request(request));
}

export async function startFakeServer(options: FakeServerOptions = {}): Promise<FakeServer> {
  const api = new FakeApi(options.clock ?? systemClock, options.store);
  let { token } = options;
  const listener: RequestListener = (incoming, response) => {
    if (token !== undefined && incoming.headers.authorization !== `Bearer ${token}`) {
      answerWith(response, refuse(401, 'Unauthorized'));
      return;
    }
    serve(api, incoming, response).catch((error: unknown) => {
      // A scripted break of the connection, or a client that went away.
      if (!(error instanceof ApiTransportError)) process.stderr.write(`fake API server: ${String(error)}\n`);
      response.destroy();
    });
  };
  const server: Server = options.tls === undefined ? createHttp(listener) : createHttps(options.tls, listener);
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const url = `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  const cluster = {
    server: url,
    ...(options.tls === undefined ? {} : { 'certificate-authority-data': Buffer.from(options.tls.cert).toString('base64') }),
  };
  return {
    ...{ url, api },
    kubeconfig: JSON.stringify({
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'fake' },
      clusters: [{ name: 'fake', cluster }],
      users: [{ name: 'fake', user: token === undefined ? {} : { token } }],
      contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'fake' } }],
    }),
    setToken: (next) => void (token = next),
    close: async () => {
      api.close();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
