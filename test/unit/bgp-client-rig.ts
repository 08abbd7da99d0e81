/** What the tests of the client have in common: daemons and connections that are closed when a file is done, and a few routes. */
import assert from 'node:assert/strict';
import type net from 'node:net';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';
import { openDaemon } from '../../src/announce/bgp/client.ts';
import { DaemonError } from '../../src/announce/bgp/daemon.ts';
import type { BgpDaemon, DaemonCode, DaemonOptions } from '../../src/announce/bgp/daemon.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { bytes, number, serve } from './gobgp-server.ts';
import type { GobgpServer } from './gobgp-server.ts';

const opened: { close(): void }[] = [];
after(() => {
  for (const item of opened) item.close();
});

export function open(options: Partial<DaemonOptions> & { endpoint: string }): BgpDaemon {
  const daemon = openDaemon({ clock: systemClock, ...options });
  opened.push(daemon);
  return daemon;
}

export async function start(...words: Parameters<typeof serve>): Promise<GobgpServer> {
  const server = await serve(...words);
  opened.push(server);
  return server;
}

/** A server of another protocol, on the loopback. */
export async function listen(server: net.Server): Promise<string> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  opened.push({
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** For `assert.rejects`. */
export const fails =
  (code: DaemonCode, text: RegExp = /./) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof DaemonError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  };

export const vip = (host: number): { prefix: string; nextHop: string; communities: number[]; largeCommunities: [] } => ({
  prefix: `192.0.2.${host}/32`,
  nextHop: '0.0.0.0',
  communities: [],
  largeCommunities: [],
});

/** Last byte of the address in a request about a path. */
export const hostOf = (request: Buffer): number => request[request.indexOf(Buffer.from('20c00002', 'hex')) + 4]!;

export const page = (host: number, neighbour: string): Buffer =>
  bytes(
    1,
    bytes(
      2,
      bytes(15, neighbour),
      number(18, 0x7261766c),
      bytes(20, Buffer.of(32, 192, 0, 2, host)),
      bytes(21, Buffer.from('40030400000000', 'hex')),
    ),
  );
