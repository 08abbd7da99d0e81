/** A server on the loopback that does what a test says, and certificates for it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

export const folder = mkdtempSync(join(tmpdir(), 'ravel-kubernetes-'));

export function removeFolder(): void {
  rmSync(folder, { recursive: true, force: true });
}

export const pathOf = (name: string): string => join(folder, name);
export const read = (name: string): Buffer => readFileSync(pathOf(name));

/** Node signs no certificates. openssl is an oracle here as `ip` and `nft` are elsewhere. */
function openssl(...words: readonly string[]): void {
  execFileSync('openssl', words, { cwd: folder, stdio: 'pipe' });
}

const keyWords = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export function makeAuthority(name: string): void {
  openssl('req', '-x509', ...keyWords, '-keyout', `${name}.key`, '-out', `${name}.crt`, '-subj', `/CN=${name}`, '-days', '2');
}

/** @param names as openssl writes subjectAltName: `IP:127.0.0.1` */
export function makeCertificate(name: string, authority: string, names: string, days = 1): void {
  writeFileSync(pathOf(`${name}.ext`), `subjectAltName=${names}\n`);
  openssl('req', ...keyWords, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
  const signing = ['-CA', `${authority}.crt`, '-CAkey', `${authority}.key`, '-CAcreateserial', '-extfile', `${name}.ext`];
  openssl('x509', '-req', '-in', `${name}.csr`, ...signing, '-out', `${name}.crt`, '-days', String(days));
}

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** What the test answers with; the request has been read. */
export type Handler = (seen: Seen, response: ServerResponse, socket: Socket) => void;

export class TestServer {
  readonly seen: Seen[] = [];
  /** Connections since the start. */
  connections = 0;
  readonly sockets = new Set<Socket>();
  handler: Handler;
  readonly #server: https.Server;

  constructor(handler: Handler, options: https.ServerOptions = { cert: read('server.crt'), key: read('server.key') }) {
    this.handler = handler;
    const listener: RequestListener = (request, response) => {
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('end', () => {
        const { method = '', url = '', headers, socket } = request;
        const seen = { method, url, headers, body: Buffer.concat(pieces).toString() };
        this.seen.push(seen);
        this.handler(seen, response, socket);
      });
    };
    this.#server = https.createServer({ keepAliveTimeout: 0, ...options }, listener);
    this.#server.on('connection', (socket: Socket) => {
      this.connections += 1;
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.sockets.delete(socket));
    });
    this.#server.on('tlsClientError', () => {});
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => void this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get url(): URL {
    return new URL(`https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
  }

  useCertificate(name: string): void {
    this.#server.setSecureContext({ cert: read(`${name}.crt`), key: read(`${name}.key`) });
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export const json = (response: ServerResponse, body: unknown, status = 200): void => {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
};

/** Looks until it is so; fails with `what` after five seconds. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const end = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within 5 s: ${what}`);
    await wait(5);
  }
}

/** The error of a promise that has to fail. */
export async function failureOf(promise: Promise<unknown>): Promise<Error & { readonly code?: string }> {
  return promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => error as Error,
  );
}
