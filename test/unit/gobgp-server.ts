/** A gRPC server that answers as a gobgpd of either version would, or as a test says. Messages are bytes put together here. */
import { readFileSync } from 'node:fs';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { ServerUnaryCall, ServerWritableStream, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';

/** A field with a number, and one with bytes, a text or fields in it; as the Protocol Buffers encoding has them. */
function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}
export const number = (field: number, value: number): Buffer => Buffer.from([...varint(field * 8), ...varint(value)]);
export function bytes(field: number, ...content: readonly (Uint8Array | string)[]): Buffer {
  const inner = Buffer.concat(content.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  return Buffer.concat([Buffer.from([...varint(field * 8 + 2), ...varint(inner.length)]), inner]);
}

export type Unary = (request: Buffer) => Promise<Buffer> | Buffer;
export type Stream = (request: Buffer, call: ServerWritableStream<Buffer, Buffer>) => void;

/** What a call ends with instead of an answer. */
export class Refusal extends Error {
  readonly code: status;
  readonly details: string;

  constructor(code: status, details: string) {
    super(details);
    this.code = code;
    this.details = details;
  }
}

const services = { 3: '/apipb.GobgpApi/', 4: '/api.GoBgpService/' } as const;
const pass = (message: Buffer): Buffer => message;

/** GetBgpResponse. */
export const identity = (asn: number, routerId = '10.0.0.1'): Buffer => bytes(1, number(1, asn), bytes(2, routerId), number(3, 179));

export interface GobgpServer {
  readonly port: number;
  readonly endpoint: string;
  /** Names of the methods called, in order. */
  readonly calls: string[];
  /** Breaks every connection. */
  close(): void;
}

interface ServerOptions {
  readonly unary?: Readonly<Record<string, Unary>>;
  readonly stream?: Readonly<Record<string, Stream>>;
  readonly port?: number;
  /** PEM files; with `ca` clients have to show a certificate. */
  readonly tls?: { readonly certificate: string; readonly key: string; readonly ca?: string };
}

/** @param major undefined: a gRPC server that is no gobgpd */
export async function serve(major: 3 | 4 | undefined, options: ServerOptions = {}): Promise<GobgpServer> {
  const server = new Server({ 'grpc.max_send_message_length': -1 });
  const calls: string[] = [];
  const definition: Record<string, ServiceDefinition[string]> = {};
  const handlers: UntypedServiceImplementation = {};
  const define = (name: string, responseStream: boolean): void => {
    const path = `${major === undefined ? '/other.Service/' : services[major]}${name}`;
    definition[name] = {
      path,
      requestStream: false,
      responseStream,
      requestSerialize: pass,
      requestDeserialize: pass,
      responseSerialize: pass,
      responseDeserialize: pass,
    };
  };
  const unary: Readonly<Record<string, Unary>> = { GetBgp: () => identity(65000), ...options.unary };
  for (const [name, answer] of Object.entries(unary)) {
    define(name, false);
    handlers[name] = (call: ServerUnaryCall<Buffer, Buffer>, callback: (error: Refusal | null, value?: Buffer) => void): void => {
      calls.push(name);
      void (async () => answer(call.request))().then(
        (value) => callback(null, value),
        (error: unknown) => callback(error instanceof Refusal ? error : new Refusal(status.UNKNOWN, String(error))),
      );
    };
  }
  for (const [name, answer] of Object.entries(options.stream ?? {})) {
    define(name, true);
    handlers[name] = (call: ServerWritableStream<Buffer, Buffer>): void => {
      calls.push(name);
      answer(call.request, call);
    };
  }
  server.addService(definition, handlers);
  const { tls } = options;
  const credentials =
    tls === undefined
      ? ServerCredentials.createInsecure()
      : ServerCredentials.createSsl(
          tls.ca === undefined ? null : readFileSync(tls.ca),
          [{ cert_chain: readFileSync(tls.certificate), private_key: readFileSync(tls.key) }],
          tls.ca !== undefined,
        );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${options.port ?? 0}`, credentials, (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  return { port, endpoint: `127.0.0.1:${port}`, calls, close: () => server.forceShutdown() };
}
