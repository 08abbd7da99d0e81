/** One request and its answer, on a connection that is used again: time limits, size limits, and nothing left behind. */
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { Clock, Timer } from '../model/clock.ts';
import type { ApiTransportError } from './api.ts';
import { ownTransportError, transportCodes, transportError } from './transport-errors.ts';

export interface ExchangeOptions {
  readonly agent: http.Agent;
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
  readonly signal: AbortSignal | undefined;
  readonly clock: Clock;
  /** For messages. */
  readonly server: string;
  readonly connectMilliseconds: number;
  /** For the whole answer. */
  readonly answerMilliseconds: number;
  /** Nothing of it is left: told once. */
  readonly onEnd: () => void;
}

/** TCP asks whether the other side is there after so long without traffic. Milliseconds. */
const tcpProbe = 30_000;
/** What a connection ends with when the server had closed it before the request came. */
const closedBefore = new Set(['ECONNRESET', 'EPIPE']);

export class Exchange {
  readonly #options: ExchangeOptions;
  readonly #request: http.ClientRequest;
  readonly #head: Promise<http.IncomingMessage>;
  #answering: Timer | undefined;
  #connecting: Timer | undefined;
  #failure: ApiTransportError | undefined;
  #answered = false;

  constructor(options: ExchangeOptions) {
    this.#options = options;
    const { agent, url, method, headers, body, signal, clock, answerMilliseconds } = options;
    const length = body === undefined ? {} : { 'Content-Length': String(body.length) };
    const { request } = url.protocol === 'https:' ? https : http;
    this.#request = request(url, { agent, method, headers: { ...headers, ...length } });
    this.#head = new Promise((resolve, reject) => {
      this.#request.on('response', (response) => {
        this.#answered = true;
        // Told again to whoever reads; an answer that nobody reads may break as well.
        response.on('error', () => {});
        resolve(response);
      });
      this.#request.on('error', (error) => {
        this.#failure ??= transportError(options.server, error);
        reject(this.#failure);
      });
      // The last word of every request; without an answer nobody would ever hear of it.
      this.#request.on('close', () => {
        this.#letGo();
        reject(this.#failure ?? this.#broken('CLOSED', 'the connection was closed'));
      });
    });
    // Whoever waits for the head hears of a failure; when nobody does, it is nobody's.
    this.#head.catch(() => {});
    this.#request.on('socket', (socket) => this.#assigned(socket));
    this.#answering = clock.after(answerMilliseconds, () =>
      this.fail(this.#broken(transportCodes.answer, `no answer within ${answerMilliseconds / 1000} s`)),
    );
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#request.end(body);
    if (signal?.aborted === true) this.#onAbort();
  }

  /** The server had closed the connection before it saw the request: it is safe to send it again. */
  get stale(): boolean {
    return this.#request.reusedSocket && !this.#answered && closedBefore.has(this.#failure?.code ?? '');
  }

  /** Status and headers. Rejects with ApiTransportError. */
  head(): Promise<http.IncomingMessage> {
    return this.#head;
  }

  /** Ends it; whoever reads hears of the error. */
  fail(error: ApiTransportError): void {
    this.#failure ??= error;
    // Without the error: a socket that is between two requests has nobody who listens to its errors.
    this.#request.destroy();
  }

  /** The whole answer. Rejects with ApiTransportError, also for more than `limit` bytes. */
  async body(limit: number): Promise<Buffer> {
    const response = await this.#head;
    const pieces: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        length += chunk.length;
        if (length > limit) this.fail(this.#broken(transportCodes.tooLong, `the answer is longer than ${limit} bytes`));
        else pieces.push(chunk);
      }
    } catch (error) {
      throw this.#failure ?? transportError(this.#options.server, error);
    }
    // A short answer may be whole before it can be given up.
    if (this.#failure !== undefined) throw this.#failure;
    return Buffer.concat(pieces, length);
  }

  /** The answer as it comes, however long it takes; ends with the server's end. `idleMilliseconds` without a byte break it. */
  async *chunks(idleMilliseconds: number): AsyncGenerator<Buffer, void, undefined> {
    const response = await this.#head;
    const iterator = (response as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
    const idle = (): void => this.fail(this.#broken(transportCodes.idle, `no byte for ${idleMilliseconds / 1000} s`));
    let ended = false;
    try {
      while (!ended) {
        // Only while waiting: a reader that takes its time is not the server's silence.
        const timer = this.#options.clock.after(idleMilliseconds, idle);
        const next = await iterator.next().finally(() => timer.cancel());
        ended = next.done === true;
        if (next.done !== true) yield next.value;
      }
    } catch (error) {
      throw this.#failure ?? transportError(this.#options.server, error);
    } finally {
      if (!ended) this.#request.destroy();
    }
  }

  /** The answer has no end to be waited for: from here on only `chunks` watches over the time. */
  keepOpen(): void {
    this.#answering?.cancel();
  }

  readonly #onAbort = (): void => this.fail(this.#broken(transportCodes.aborted, 'given up by the agent'));

  #broken(code: Parameters<typeof ownTransportError>[1], message: string): ApiTransportError {
    return ownTransportError(this.#options.server, code, message);
  }

  #assigned(socket: Socket): void {
    if (this.#request.reusedSocket) return;
    socket.setKeepAlive(true, tcpProbe);
    const { clock, connectMilliseconds, url } = this.#options;
    this.#connecting = clock.after(connectMilliseconds, () =>
      this.fail(this.#broken(transportCodes.connect, `no connection within ${connectMilliseconds / 1000} s`)),
    );
    socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => this.#connecting?.cancel());
  }

  #letGo(): void {
    this.#answering?.cancel();
    this.#connecting?.cancel();
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#options.onEnd();
  }
}
