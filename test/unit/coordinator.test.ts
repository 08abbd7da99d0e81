import assert from 'node:assert/strict';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { test } from 'node:test';
import { tcpCoordinator, type Presence } from '../../src/drivers/coordinator.ts';

const look = (port: number): Promise<Presence> => tcpCoordinator.look(port);
const hold: typeof tcpCoordinator.hold = (...call) => tcpCoordinator.hold(...call);

/** Looks until somebody is there. */
async function seen(port: number): Promise<Presence> {
  for (const end = performance.now() + 5000; performance.now() < end;) {
    const found = await look(port);
    if (found !== 'absent') return found;
  }
  return 'absent';
}

/** A server that does as told with whoever connects. */
async function serving(onConnection: (socket: Socket) => unknown): Promise<{ port: number; server: Server }> {
  const server = createServer(onConnection);
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  return { port: (server.address() as AddressInfo).port, server };
}

/** A port that nobody has at the moment. */
async function freePort(): Promise<number> {
  const { port, server } = await serving(() => {});
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('a held port is seen with the word of its holder, and not any more when it is let go', async () => {
  const port = await freePort();
  assert.equal(await look(port), 'absent');
  const stop = new AbortController();
  let word: Exclude<Presence, 'absent'> = 'present';
  const held = hold(port, () => word, stop.signal);
  assert.equal(await seen(port), 'present');
  word = 'translating';
  assert.equal(await look(port), 'translating');
  for (const other of ['routed', 'routed translating', 'translating'] as const) {
    word = other;
    assert.equal(await look(port), other);
  }
  // Who connects and never closes does not keep the port, nor others from looking.
  const rude = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  rude.on('error', () => {});
  await new Promise((resolve) => rude.once('connect', resolve));
  assert.equal(await look(port), 'translating');
  rude.destroy();
  stop.abort();
  await held;
  assert.equal(await look(port), 'absent');
});

test('a director of another make, which says nothing or something else, is present all the same', async () => {
  for (const say of [
    (socket: Socket): unknown => socket.end(),
    (socket: Socket): unknown => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    (socket: Socket): unknown => socket.end('translatingly\n'),
    (socket: Socket): unknown => socket.end('routed somewhere\n'),
    (): unknown => undefined,
  ]) {
    const { port, server } = await serving(say);
    assert.equal(await look(port), 'present');
    server.close();
  }
});

test('a port that is taken rejects, and says which', async () => {
  const { port, server } = await serving(() => {});
  await assert.rejects(
    hold(port, () => 'present', new AbortController().signal),
    { code: 'EADDRINUSE', port },
  );
  await new Promise((resolve) => server.close(resolve));
});

test('an end that was asked for before the beginning is one', async () => {
  const port = await freePort();
  await hold(port, () => 'present', AbortSignal.abort());
  assert.equal(await look(port), 'absent');
});
