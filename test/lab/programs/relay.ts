/**
 * Stands between the lab's segment and a server that its namespaces do not reach.  relay.mjs ADDRESS UPSTREAM
 * UPSTREAM is HOST:PORT or the path of a Unix socket. Commands come as JSON lines on standard input, each is answered
 * by one JSON line with what the port is doing:
 *   {"port":6443,"do":"open"}    listen, pass everything on
 *   {"port":6443,"do":"cut"}     break all connections, refuse new ones
 *   {"port":6443,"do":"stall"}   keep all connections, take new ones, and pass nothing on: half-open to both ends
 *   {"port":6443,"do":"look"}
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { RelayCommand, RelayPort } from '../relay.ts';

const [address = '', upstream = ''] = process.argv.slice(2);

class Port {
  readonly #port: number;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #server: Server | undefined;
  #stalled = false;
  #accepted = 0;

  constructor(port: number) {
    this.#port = port;
  }

  async obey(what: RelayCommand['do']): Promise<RelayPort> {
    if (what === 'open' || what === 'stall') {
      this.#stalled = what === 'stall';
      for (const pair of this.#pairs) for (const socket of pair) this.#flow(socket);
      await this.#listen();
    } else if (what === 'cut') {
      this.#server?.close();
      this.#server = undefined;
      for (const [client, server] of this.#pairs) {
        client.resetAndDestroy();
        server.destroy();
      }
    }
    const state = this.#server === undefined ? 'cut' : this.#stalled ? 'stalled' : 'open';
    return { port: this.#port, state, connections: this.#pairs.size, accepted: this.#accepted };
  }

  #listen(): Promise<void> {
    if (this.#server !== undefined) return Promise.resolve();
    const server = createServer({ noDelay: true }, (client) => this.#take(client));
    this.#server = server;
    return new Promise((resolve, reject) => server.once('error', reject).listen(this.#port, address, resolve));
  }

  #take(client: Socket): void {
    this.#accepted += 1;
    const [host = '', port = ''] = upstream.split(':');
    const server = upstream.startsWith('/') ? connect(upstream) : connect({ host, port: Number(port), noDelay: true });
    const pair = [client, server] as const;
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const [from, to] of [pair, [server, client] as const]) {
      from.on('error', end).on('close', end);
      from.on('data', (data: Buffer) => {
        if (to.write(data)) return;
        from.pause();
        to.once('drain', () => this.#flow(from));
      });
      this.#flow(from);
    }
  }

  #flow(socket: Socket): void {
    if (this.#stalled) socket.pause();
    else socket.resume();
  }
}

const ports = new Map<number, Port>();
process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as RelayCommand;
  const port = ports.get(command.port) ?? new Port(command.port);
  ports.set(command.port, port);
  process.stdout.write(`${JSON.stringify(await port.obey(command.do))}\n`);
}
process.exit(0);
