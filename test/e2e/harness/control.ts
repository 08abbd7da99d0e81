/**
 * What tests that run elsewhere (a VM, a namespace) ask of the host: to stop and start the API server, what its audit
 * log says, and bulk changes, which are slow where a CPU is emulated. HTTP on the loopback and on a Unix socket, with
 * a secret; beside it a Unix socket that leads to the API server, for namespaces that do not see this loopback.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { requestsByAgent } from './audit.ts';
import type { ControlPlane } from './control-plane.ts';
import { Churn, populate, type Population } from './populate.ts';

export type ControlCommand =
  | { readonly op: 'stop-api-server' }
  | { readonly op: 'start-api-server'; readonly certificate?: 'right' | 'foreign' }
  | { readonly op: 'requests' }
  | { readonly op: 'populate'; readonly population: Population }
  | { readonly op: 'start-churn'; readonly population: Population; readonly perSecond: number }
  | { readonly op: 'stop-churn' };

/** How to find host and API server, for lab/connect.ts. */
export interface LabDescription {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
  readonly apiPort: number;
  readonly apiSocket: string;
  readonly controlPort: number;
  readonly controlSocket: string;
  readonly secret: string;
}

export class ControlServer {
  readonly description: LabDescription;
  readonly #plane: ControlPlane;
  readonly #servers: readonly (HttpServer | Server)[];
  readonly #bridged = new Set<Socket>();
  #churn: Churn | undefined;

  private constructor(plane: ControlPlane, secret: string) {
    this.#plane = plane;
    const onRequest = (request: IncomingMessage, response: ServerResponse): void => void this.#answer(request, response, secret);
    const bridge = createServer((socket) => this.#bridge(socket));
    this.#servers = [createHttpServer(onRequest), createHttpServer(onRequest), bridge];
    const { authority, certificate, key } = plane.clientOptions;
    this.description = {
      ...{ authority, certificate, key, secret, apiPort: plane.port, controlPort: 0 },
      apiSocket: join(plane.folder, 'api.sock'),
      controlSocket: join(plane.folder, 'control.sock'),
    };
  }

  static async start(plane: ControlPlane): Promise<ControlServer> {
    const server = new ControlServer(plane, randomBytes(24).toString('hex'));
    const [tcp, local, bridge] = server.#servers;
    const { controlSocket, apiSocket } = server.description;
    await new Promise<void>((resolve) => tcp?.listen(0, '127.0.0.1', resolve));
    await new Promise<void>((resolve) => local?.listen(controlSocket, resolve));
    await new Promise<void>((resolve) => bridge?.listen(apiSocket, resolve));
    const controlPort = (tcp?.address() as AddressInfo).port;
    Object.assign(server.description, { controlPort });
    return server;
  }

  async close(): Promise<void> {
    await this.#churn?.stop();
    for (const socket of this.#bridged) socket.destroy();
    for (const server of this.#servers) {
      if ('closeAllConnections' in server) server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #bridge(socket: Socket): void {
    const upstream = connect({ host: '127.0.0.1', port: this.#plane.port, noDelay: true });
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      this.#bridged.add(one);
      // Either end may vanish at any time: then so does the other.
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
      one.on('close', () => this.#bridged.delete(one));
      one.pipe(other);
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse, secret: string): Promise<void> {
    const given = Buffer.from(request.headers['x-secret']?.toString() ?? '');
    const right = Buffer.from(secret);
    if (given.length !== right.length || !timingSafeEqual(given, right)) {
      response.writeHead(403).end();
      return;
    }
    try {
      const answer = await this.#obey(JSON.parse(await text(request)) as ControlCommand);
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer ?? null));
    } catch (error) {
      response.writeHead(500).end(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
  }

  async #obey(command: ControlCommand): Promise<unknown> {
    switch (command.op) {
      case 'stop-api-server':
        return this.#plane.stopApiServer();
      case 'start-api-server':
        return this.#plane.startApiServer(command.certificate);
      case 'requests':
        return requestsByAgent(readFileSync(this.#plane.auditLog, 'utf8'));
      case 'populate':
        return populate(this.#plane.client, command.population);
      case 'start-churn':
        this.#churn = new Churn(this.#plane.client, command.population, command.perSecond);
        return undefined;
      case 'stop-churn': {
        const result = await this.#churn?.stop();
        this.#churn = undefined;
        return result;
      }
    }
  }
}
