/** One connection to the daemon, for as long as it holds: calls with deadlines, and which version answers. */
import { readFile } from 'node:fs/promises';
import { checkServerIdentity } from 'node:tls';
import { Client, connectivityState, credentials } from '@grpc/grpc-js';
import type { ChannelCredentials, ChannelOptions, ClientReadableStream } from '@grpc/grpc-js';
import type { Clock } from '../../model/clock.ts';
import { DaemonError } from './daemon.ts';
import type { DaemonIdentity, DaemonTls } from './daemon.ts';
import { gobgp3, gobgp4 } from './dialect.ts';
import type { Dialect } from './dialect.ts';
import type { Endpoint } from './endpoint.ts';
import { daemonError, isUnimplemented } from './failures.ts';
import type { Call } from './failures.ts';
import { readIdentity } from './peer-status.ts';

export interface ConnectionOptions {
  readonly endpoint: Endpoint;
  readonly tls: DaemonTls | undefined;
  readonly clock: Clock;
  /** For one call. */
  readonly callMilliseconds: number;
  /** Between two messages of a stream that ends. */
  readonly listMilliseconds: number;
}

/** A message larger than this is an error; a page of a list has one prefix. */
const largestMessage = 4 * 1024 * 1024;

/** Streams of a list as a whole, in multiples of the time between two messages. */
const listFactor = 10;

/**
 * No keepalive pings: the daemon leaves its library's limit in place (one in five minutes), and that ends a connection with
 * "too many pings" when they come every few seconds. Who watches asks the daemon something from time to time instead, which
 * also finds one that is stopped.
 */
const channelOptions: ChannelOptions = {
  // The environment's proxies are for the web.
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  // A pool that all channels share would remember the back-off of an earlier connection.
  'grpc.use_local_subchannel_pool': 1,
  // Tries again are the caller's; a connection that fails is dropped, so that these two hardly ever count.
  'grpc.enable_retries': 0,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  'grpc.max_receive_message_length': largestMessage,
  'grpc.enable_channelz': 0,
  'grpc.primary_user_agent': 'ravel-agent',
};

async function readPem(file: string | undefined, call: Call): Promise<Buffer | null> {
  if (file === undefined) return null;
  try {
    return await readFile(file);
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new DaemonError('TlsRefused', call.operation, call.subject, `cannot read ${file}: ${why}`, { cause: error });
  }
}

async function channelCredentials(
  options: ConnectionOptions,
  call: Call,
): Promise<{ channel: ChannelCredentials; options: ChannelOptions }> {
  const { tls, endpoint } = options;
  if (tls === undefined) return { channel: credentials.createInsecure(), options: {} };
  const [ca, key, certificate] = await Promise.all([
    readPem(tls.caFile, call),
    readPem(tls.keyFile, call),
    readPem(tls.certificateFile, call),
  ]);
  const name = tls.serverName ?? endpoint.host;
  try {
    const channel = credentials.createSsl(ca, key, certificate, { checkServerIdentity: (_host, peer) => checkServerIdentity(name, peer) });
    // RFC 6066 section 3: no address in the server name that is sent; what the certificate has to say is checked above.
    const sent = /^[0-9.]+$|:/.test(name) ? 'localhost' : name;
    return { channel, options: { 'grpc.ssl_target_name_override': sent, 'grpc.default_authority': sent } };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DaemonError('TlsRefused', call.operation, call.subject, `certificate or key cannot be used: ${why}`, { cause: error });
  }
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** What is under way, to be ended with the connection. */
interface Cancellable {
  cancel(): void;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #client: Client;
  readonly #calls = new Set<Cancellable>();
  #dialect: Dialect | undefined;
  #closed = false;

  /** Connects, and finds out who answers. Rejects with a DaemonError. */
  static async open(options: ConnectionOptions, call: Call): Promise<Connection> {
    const { channel, options: extra } = await channelCredentials(options, call);
    const connection = new Connection(options, new Client(options.endpoint.target, channel, { ...channelOptions, ...extra }));
    try {
      await connection.#recognise(call);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  private constructor(options: ConnectionOptions, client: Client) {
    this.#options = options;
    this.#client = client;
  }

  get dialect(): Dialect {
    if (this.#dialect === undefined) throw new TypeError('who answers is not known yet');
    return this.#dialect;
  }

  /** It answers no more, or another daemon may answer in its place. */
  get stale(): boolean {
    return this.#closed || this.#client.getChannel().getConnectivityState(false) !== connectivityState.READY;
  }

  /** GoBGP 4 does not know the service of version 3, and the other way round. */
  async #recognise(call: Call): Promise<void> {
    const ask = (dialect: Dialect): Promise<unknown> =>
      this.#raw(`${dialect.service}GetBgp`, new Uint8Array(), (bytes) => readIdentity(bytes, 4), call);
    try {
      await ask(gobgp4);
      this.#dialect = gobgp4;
    } catch (error) {
      if (!isUnimplemented(error)) throw daemonError(error, call, false, this.#tls);
      await ask(gobgp3).catch((second: unknown) => {
        throw daemonError(second, call, false, this.#tls);
      });
      this.#dialect = gobgp3;
    }
  }

  get #tls(): boolean {
    return this.#options.tls !== undefined;
  }

  identity(call: Call): Promise<DaemonIdentity> {
    return this.unary('GetBgp', new Uint8Array(), (bytes) => readIdentity(bytes, this.dialect.major), call);
  }

  /** One request, one answer. Rejects with a DaemonError. */
  async unary<T>(method: string, request: Uint8Array, read: (bytes: Uint8Array) => T, call: Call): Promise<T> {
    try {
      return await this.#raw(this.dialect.service + method, request, read, call);
    } catch (error) {
      throw daemonError(error, call, true, this.#tls);
    }
  }

  #raw<T>(path: string, request: Uint8Array, read: (bytes: Uint8Array) => T, call: Call): Promise<T> {
    const { clock, callMilliseconds } = this.#options;
    return new Promise<T>((resolve, reject) => {
      if (this.#closed) {
        reject(this.#closedError(call));
        return;
      }
      let late: DaemonError | undefined;
      const running = this.#client.makeUnaryRequest(path, asBuffer, read, request, (error, value) => {
        timer.cancel();
        this.#calls.delete(running);
        if (error !== null) reject(late ?? (this.#closed ? this.#closedError(call) : error));
        else resolve(value as T);
      });
      this.#calls.add(running);
      const timer = clock.after(callMilliseconds, () => {
        late = timeout(call, callMilliseconds);
        running.cancel();
      });
    });
  }

  /** All messages of a stream that ends by itself. Rejects with a DaemonError. */
  async drain<T>(
    method: string,
    request: Uint8Array,
    read: (bytes: Uint8Array) => T,
    take: (message: T) => void,
    call: Call,
  ): Promise<void> {
    const { listMilliseconds } = this.#options;
    const stream = this.open(method, request, read, call);
    let messages = 0;
    let late: DaemonError | undefined;
    let seen = 0;
    let turns = 0;
    // Looked at now and then: a timer for each of a million messages costs more than they do.
    const look = (): void => {
      turns += 1;
      if (messages === seen || turns > listFactor) {
        late = timeout(call, messages === seen ? listMilliseconds : listMilliseconds * listFactor);
        stream.cancel();
        return;
      }
      seen = messages;
      timer = this.#options.clock.after(listMilliseconds, look);
    };
    let timer = this.#options.clock.after(listMilliseconds, look);
    try {
      await new Promise<void>((resolve, reject) => {
        stream.on('data', (message: T) => {
          messages += 1;
          try {
            take(message);
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
            stream.cancel();
          }
        });
        stream.on('end', resolve);
        stream.on('error', reject);
      });
    } catch (error) {
      throw late ?? this.failure(error, call);
    } finally {
      timer.cancel();
    }
  }

  /** A stream; whoever takes it cancels it. It has a listener for errors, so that one that comes late ends nobody. */
  open<T>(method: string, request: Uint8Array, read: (bytes: Uint8Array) => T, call: Call): ClientReadableStream<T> {
    if (this.#closed) throw this.#closedError(call);
    const stream = this.#client.makeServerStreamRequest(this.dialect.service + method, asBuffer, read, request);
    this.#calls.add(stream);
    stream.on('error', () => undefined);
    stream.on('status', () => this.#calls.delete(stream));
    return stream;
  }

  failure(error: unknown, call: Call): DaemonError {
    return this.#closed ? this.#closedError(call) : daemonError(error, call, true, this.#tls);
  }

  #closedError(call: Call): DaemonError {
    return new DaemonError('Unreachable', call.operation, call.subject, 'the connection is closed');
  }

  /** Ends what is under way. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const call of this.#calls) call.cancel();
    this.#client.close();
  }
}

function timeout(call: Call, milliseconds: number): DaemonError {
  return new DaemonError('Timeout', call.operation, call.subject, `no answer in ${milliseconds / 1000} s`);
}
