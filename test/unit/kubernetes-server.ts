/** A server on the loopback that does what a test says, and certificates for it. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { makeAuthority, makeCertificate, type Pair } from './certificates.ts';
import { temporaryDirectory } from '../temporary-directory.ts';

export const folder = temporaryDirectory('kubernetes');

export const pathOf = (name: string): string => join(folder, name);
export const read = (name: string): Buffer => readFileSync(pathOf(name));

const authorities = new Map<string, Pair>();

function store(pair: Pair): Pair {
  writeFileSync(pathOf(`${pair.name}.crt`), pair.certificate);
  writeFileSync(pathOf(`${pair.name}.key`), pair.key);
  return pair;
}

/** Writes `name.crt` and `name.key`. */
export function storeAuthority(name: string): void {
  authorities.set(name, store(makeAuthority(name)));
}

/** @param names addresses and DNS names it is good for; `days` below 0: it is over */
export function storeCertificate(name: string, authority: string, names: readonly string[], days?: number): void {
  store(makeCertificate(name, authorities.get(authority)!, names, days));
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
