/**
 * How the director and the realserver of one machine learn of each other: a TCP port of 127.0.0.1 that the director holds. Who can
 * connect knows that it is there. It says a word before it closes; programs that only connect need not read it.
 */
import { createConnection, createServer } from 'node:net';

const words = ['present', 'translating', 'routed', 'routed translating'] as const;

/**
 * `translating`: a director whose rules lead to the pods of this machine, so that nobody else's need to. `routed`: one that
 * keeps silent on the segment, as a realserver does.
 */
export type Presence = 'absent' | (typeof words)[number];

export interface CoordinatorPort {
  /** Whether a director answers on a port. Never rejects: what cannot be reached is not there. */
  look(port: number): Promise<Presence>;
  /** Answers on a port until the signal aborts. Rejects when the port cannot be had, or is lost. */
  hold(port: number, presence: () => Exclude<Presence, 'absent'>, signal: AbortSignal): Promise<void>;
}

const host = '127.0.0.1';
/** On the loopback interface an answer takes microseconds; whoever accepts and says nothing for so long has nothing to say. */
const patienceMilliseconds = 500;

function look(port: number): Promise<Presence> {
  return new Promise((resolve) => {
    let connected = false;
    let said = '';
    const socket = createConnection({ host, port });
    const end = (): void => {
      // A reset, so that nothing lingers on a port that a director may want.
      if (socket.localPort === port) socket.resetAndDestroy();
      else socket.destroy();
      resolve(connected ? (words.find((word) => said.startsWith(`${word}\n`)) ?? 'present') : 'absent');
    };
    socket.setTimeout(patienceMilliseconds, end);
    socket.on('connect', () => {
      // The kernel may choose the very port for our end, and then a socket is connected to itself (RFC 9293 section 3.5).
      connected = socket.localPort !== port;
      if (!connected) end();
    });
    socket.on('data', (chunk) => {
      said += chunk.toString('latin1');
      // Nobody who is ours says as much.
      if (said.includes('\n') || said.length > 64) end();
    });
    socket.on('end', end);
    socket.on('error', end);
  });
}

function hold(port: number, presence: () => Exclude<Presence, 'absent'>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      // Whoever does not close in time is closed.
      socket.setTimeout(patienceMilliseconds, () => socket.destroy());
      socket.end(`${presence()}\n`);
      socket.resume();
    });
    const stop = (): void => void server.close();
    server.maxConnections = 64;
    server.on('error', (error) => {
      signal.removeEventListener('abort', stop);
      server.close();
      reject(error);
    });
    server.on('close', () => {
      signal.removeEventListener('abort', stop);
      resolve();
    });
    signal.addEventListener('abort', stop, { once: true });
    server.listen({ host, port });
    // What keeps the agent alive is its work.
    server.unref();
  });
}

export const tcpCoordinator: CoordinatorPort = { look, hold };
