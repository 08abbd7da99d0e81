/**
 * The Kubernetes API over connections that are kept: one pool for requests, one for watches, one for what is urgent, so that
 * neither a burst of lists nor a full set of watches ever delays a lease.
 */
import http from 'node:http';
import https from 'node:https';
import type { SecureContext } from 'node:tls';
import type { Clock } from '../model/clock.ts';
import type { Access } from './access.ts';
import { ApiTransportError, type ApiAnswer, type ApiRequest, type ApiStream, type KubernetesApi } from './api.ts';
import { CredentialReader, type Credentials } from './credentials.ts';
import { Exchange } from './exchange.ts';
import { LineSplitter, LineTooLongError } from './json-lines.ts';
import { isCertificateProblem, ownTransportError, transportCodes } from './transport-errors.ts';

export interface ConnectionOptions {
  readonly access: Access;
  readonly clock: Clock;
  /** Told in words when credentials changed or cannot be read again. Never a secret. */
  readonly onNotice?: (message: string) => void;
  /** Default `ravel-agent`. */
  readonly userAgent?: string;
  /** For TCP and TLS together. Default 10 s. */
  readonly connectMilliseconds?: number;
  /** For a whole answer, and for the head of a watch. Default 30 s. */
  readonly answerMilliseconds?: number;
  /** The same for urgent requests. Default 10 s. */
  readonly urgentMilliseconds?: number;
  /** Longest answer, bytes. Default 64 MiB. */
  readonly answerLimit?: number;
  /** Longest document of a watch, bytes. Default 8 MiB. */
  readonly documentLimit?: number;
  /** How long files with credentials are taken as read. Default 10 s. */
  readonly keepCredentialsMilliseconds?: number;
}

type Pool = 'requests' | 'watches' | 'urgent';

/** Connections per pool. Watches need one each, and there are at most six. */
const poolSizes: Readonly<Record<Pool, number>> = { requests: 8, watches: 16, urgent: 2 };
/** API servers close connections that were idle for 90 s (net/http's IdleTimeout as kube-apiserver sets it); we do so before them. */
const freeMilliseconds = 60_000;
/** A server may ask for patience, not for giving up. */
const longestRetryAfter = 300;

type Agents = Readonly<Record<Pool, http.Agent>>;

/** @throws AccessError when tokens or certificates cannot be read */
export async function openConnection(options: ConnectionOptions): Promise<KubernetesApi> {
  const connection = new HttpApi(options);
  await connection.prepare();
  return connection;
}

class HttpApi implements KubernetesApi {
  readonly server: string;
  readonly #options: Required<Omit<ConnectionOptions, 'onNotice'>>;
  readonly #credentials: CredentialReader;
  readonly #open = new Set<Exchange>();
  #agents: { readonly secureContext: SecureContext; readonly of: Agents } | undefined;
  #closed = false;

  constructor({ onNotice = () => {}, ...options }: ConnectionOptions) {
    this.#options = {
      ...{ userAgent: 'ravel-agent', connectMilliseconds: 10_000, answerMilliseconds: 30_000, urgentMilliseconds: 10_000 },
      ...{ answerLimit: 64 * 1024 * 1024, documentLimit: 8 * 1024 * 1024, keepCredentialsMilliseconds: 10_000 },
      ...options,
    };
    const { access, clock, keepCredentialsMilliseconds: keepMilliseconds } = this.#options;
    const { protocol, hostname, port, pathname } = access.server;
    this.server = `${protocol}//${hostname}:${port === '' ? (protocol === 'https:' ? '443' : '80') : port}${pathname.replace(/\/$/, '')}`;
    this.#credentials = new CredentialReader({ access, clock, keepMilliseconds, onNotice });
  }

  async prepare(): Promise<void> {
    await this.#credentials.current();
  }

  async request({ urgent = false, ...request }: ApiRequest & { readonly urgent?: boolean }): Promise<ApiAnswer> {
    return this.#asWhoWeAre(request, urgent ? 'urgent' : 'requests', (exchange) => this.#answer(exchange));
  }

  async stream({ idleMilliseconds, ...request }: ApiRequest & { readonly idleMilliseconds: number }): Promise<ApiStream> {
    return this.#asWhoWeAre(request, 'watches', async (exchange) => {
      const { statusCode } = await exchange.head();
      if (statusCode !== 200) return { refused: await this.#answer(exchange), documents: nothing() };
      exchange.keepOpen();
      return { refused: undefined, documents: this.#documents(exchange, idleMilliseconds) };
    });
  }

  close(): void {
    this.#closed = true;
    for (const exchange of this.#open) exchange.fail(ownTransportError(this.server, transportCodes.closed, 'closed by the agent'));
    this.#retireAgents();
  }

  /** Once more with what the files hold now, when the server refuses us or we refuse its certificate. */
  async #asWhoWeAre<Result extends ApiAnswer | ApiStream>(
    request: ApiRequest,
    pool: Pool,
    read: (exchange: Exchange) => Promise<Result>,
  ): Promise<Result> {
    const credentials = await this.#credentials.current();
    let result: Result | undefined;
    let failure: unknown;
    try {
      result = await this.#onFreshConnection(request, pool, credentials, read);
      const status = 'status' in result ? result.status : result.refused?.status;
      if (status !== 401) return result;
    } catch (error) {
      if (!(error instanceof ApiTransportError) || !isCertificateProblem(error.code)) throw error;
      failure = error;
    }
    const renewed = await this.#credentials.renewed(credentials);
    if (renewed !== undefined) return this.#onFreshConnection(request, pool, renewed, read);
    if (result === undefined) throw failure;
    return result;
  }

  /** Once more when the kept connection had been closed by the server: every write here may be sent twice (it names its object). */
  async #onFreshConnection<Result>(
    request: ApiRequest,
    pool: Pool,
    credentials: Credentials,
    read: (exchange: Exchange) => Promise<Result>,
  ): Promise<Result> {
    const agent = this.#agent(pool, credentials);
    const first = this.#begin(request, pool, agent, credentials);
    try {
      return await read(first);
    } catch (error) {
      if (request.signal?.aborted === true || this.#closed) throw error;
      // What happened to one connection has perhaps happened to the idle ones: a new one tells.
      dropFree(agent);
      if (!first.stale) throw error;
    }
    return read(this.#begin(request, pool, agent, credentials));
  }

  #begin(
    { method, body, contentType = 'application/json', signal, ...where }: ApiRequest,
    pool: Pool,
    agent: http.Agent,
    { authorization }: Credentials,
  ): Exchange {
    if (this.#closed) throw ownTransportError(this.server, transportCodes.closed, 'closed by the agent');
    const { clock, connectMilliseconds, answerMilliseconds, urgentMilliseconds, userAgent, access } = this.#options;
    const exchange = new Exchange({
      ...{ agent, url: urlOf(access.server, where), method, signal, clock, server: this.server, connectMilliseconds },
      answerMilliseconds: pool === 'urgent' ? urgentMilliseconds : answerMilliseconds,
      headers: {
        // Uncompressed: in a data centre the server's time to compress is worth more than the bytes.
        ...{ Accept: 'application/json', 'Accept-Encoding': 'identity', 'User-Agent': userAgent },
        ...(authorization === undefined ? {} : { Authorization: authorization }),
        ...(body === undefined ? {} : { 'Content-Type': contentType }),
      },
      body: body === undefined ? undefined : Buffer.from(JSON.stringify(body)),
      onEnd: () => this.#open.delete(exchange),
    });
    this.#open.add(exchange);
    return exchange;
  }

  async #answer(exchange: Exchange): Promise<ApiAnswer> {
    const { statusCode = 0, headers } = await exchange.head();
    const bytes = await exchange.body(this.#options.answerLimit);
    return { status: statusCode, retryAfterSeconds: secondsOf(headers['retry-after']), body: parsed(bytes.toString('utf8')) };
  }

  async *#documents(exchange: Exchange, idleMilliseconds: number): AsyncGenerator<unknown, void, undefined> {
    const lines = new LineSplitter(this.#options.documentLimit);
    try {
      for await (const chunk of exchange.chunks(idleMilliseconds)) for (const line of lines.push(chunk)) yield this.#document(line);
      const rest = lines.rest();
      if (rest !== '') yield this.#document(rest);
    } catch (error) {
      if (error instanceof LineTooLongError) throw ownTransportError(this.server, transportCodes.tooLong, `a watch: ${error.message}`);
      throw error;
    }
  }

  #document(line: string): unknown {
    const document = parsed(line);
    // Not quoted: nobody knows what it is.
    if (document === undefined)
      throw ownTransportError(this.server, transportCodes.garbled, `a watch: ${line.length} characters that are no JSON`);
    return document;
  }

  /** Other certificates need other connections; what is under way on the old ones goes on to its end. */
  #agent(pool: Pool, { secureContext }: Credentials): http.Agent {
    if (this.#agents?.secureContext !== secureContext) {
      this.#retireAgents();
      this.#agents = { secureContext, of: newAgents(this.#options.access, secureContext) };
    }
    return this.#agents.of[pool];
  }

  #retireAgents(): void {
    for (const agent of Object.values(this.#agents?.of ?? {})) {
      // What becomes free from now on is not kept.
      agent.maxFreeSockets = 0;
      dropFree(agent);
    }
    this.#agents = undefined;
  }
}

function newAgents({ server, serverName, insecure }: Access, secureContext: SecureContext): Agents {
  const agentOf = (pool: Pool): http.Agent => {
    const options = { keepAlive: true, keepAliveMsecs: 30_000, maxSockets: poolSizes[pool], timeout: freeMilliseconds };
    if (server.protocol === 'http:') return new http.Agent(options);
    return new https.Agent({
      ...{ ...options, secureContext, rejectUnauthorized: !insecure },
      ...(serverName === undefined ? {} : { servername: serverName }),
    });
  };
  return { requests: agentOf('requests'), watches: agentOf('watches'), urgent: agentOf('urgent') };
}

function dropFree(agent: http.Agent): void {
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

/** `/api/v1/…` for the core group, `/apis/group/version/…` for all others. */
function urlOf(server: URL, { resource, namespace, name, query }: Pick<ApiRequest, 'resource' | 'namespace' | 'name' | 'query'>): URL {
  const { group, version, resource: plural } = resource;
  const segments = [
    ...(group === '' ? ['api'] : ['apis', group]),
    version,
    ...(namespace === undefined ? [] : ['namespaces', namespace]),
    plural,
    ...(name === undefined ? [] : [name]),
  ];
  const url = new URL(server);
  url.pathname = `${server.pathname.replace(/\/$/, '')}/${segments.map(encodeURIComponent).join('/')}`;
  url.search = new URLSearchParams(query).toString();
  return url;
}

/** Seconds only: dates would have to be compared with a clock that may be wrong. API servers send seconds. */
function secondsOf(retryAfter: string | undefined): number | undefined {
  return retryAfter !== undefined && /^\d{1,9}$/.test(retryAfter) ? Math.min(longestRetryAfter, Number(retryAfter)) : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Of a watch that was refused. */
async function* nothing(): AsyncGenerator<unknown, void, undefined> {}
