/**
 * The client: asks the VIP, counts answers and failures.  load.mjs ADDRESS PORT
 * Commands come as JSON lines on standard input, each is answered by one JSON line:
 *   {"op":"requests","count":60,"path":"/"}           one after another, a new connection each
 *   {"op":"start","fresh":3,"kept":2,"pauseMs":10}    until stopped; `fresh` workers connect for each request,
 *                                                     `kept` workers hold a connection as long as the pod allows
 *   {"op":"counts"} and {"op":"stop"}                 what was counted since the start
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Counts, LoadCommand } from '../load.ts';

const [host = '', port = ''] = process.argv.slice(2);
/** A request that takes longer has failed. The kernel's first SYN retransmission comes after 1 s. */
const LIMIT_MS = 10_000;
const SLOW_MS = 1_000;

let counts = empty();
let stopping = false;
let workers: Promise<void>[] = [];

function empty(): Counts {
  return { ok: 0, failed: 0, slow: 0, errors: {}, pods: {}, clients: {}, slowestMs: 0, bytes: 0 };
}

function add(table: Record<string, number>, key: string): void {
  table[key] = (table[key] ?? 0) + 1;
}

interface Answer {
  readonly pod: string;
  readonly client: string;
  readonly keep: boolean;
  readonly bytes: number;
}

/** Why a connection broke: one that is no more tells nobody again. */
const broke = new WeakMap<Socket, Error>();

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), noDelay: true });
    // A kept connection may break, or fall silent, while nobody listens to it: its next request fails then.
    socket.on('error', (error) => broke.set(socket, error));
    socket.setTimeout(LIMIT_MS, () => socket.destroy(new Error('timeout')));
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

function ask(socket: Socket, path: string, keep: boolean): Promise<Answer> {
  if (socket.destroyed) return Promise.reject(broke.get(socket) ?? new Error('closed between two requests'));
  return new Promise((resolve, reject) => {
    let received = '';
    const done = (): void => {
      socket.off('data', onData).off('error', onError).off('close', onClose);
    };
    const onError = (error: Error): void => {
      done();
      reject(error);
    };
    const onClose = (): void => onError(new Error(received === '' ? 'closed without an answer' : 'closed within the answer'));
    const onData = (data: Buffer): void => {
      received += data.toString('latin1');
      const end = received.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = Number(/content-length: (\d+)/.exec(received)?.[1] ?? 0);
      if (received.length < end + 4 + length) return;
      done();
      const { pod, client } = JSON.parse(received.slice(end + 4)) as { pod: string; client: string };
      resolve({ pod, client, keep: /connection: keep-alive/.test(received.slice(0, end)), bytes: received.length });
    };
    socket.on('data', onData).on('error', onError).on('close', onClose);
    socket.write(`GET ${path} HTTP/1.1\r\nhost: lab\r\nconnection: ${keep ? 'keep-alive' : 'close'}\r\n\r\n`);
  });
}

/** One request; returns the connection if it may be used again. */
async function request(kept: Socket | undefined, path: string, keep: boolean): Promise<Socket | undefined> {
  const began = performance.now();
  let socket = kept;
  try {
    socket ??= await open();
    const answer = await ask(socket, path, keep);
    counts.ok += 1;
    counts.bytes += answer.bytes;
    add(counts.pods, answer.pod);
    add(counts.clients, answer.client);
    if (keep && answer.keep) return socket;
    // The pod said that it closes: take its end, then ours is one too.
    socket.on('error', () => undefined).end();
  } catch (error) {
    counts.failed += 1;
    const code = (error as NodeJS.ErrnoException).code;
    add(counts.errors, `${kept === undefined ? 'new' : 'kept'} connection: ${code ?? (error as Error).message}`);
    socket?.on('error', () => undefined).destroy();
  } finally {
    const took = performance.now() - began;
    counts.slowestMs = Math.max(counts.slowestMs, Math.round(took));
    if (took > SLOW_MS) counts.slow += 1;
  }
  return undefined;
}

async function worker(keep: boolean, pauseMs: number): Promise<void> {
  let socket: Socket | undefined;
  while (!stopping) {
    socket = await request(socket, '/', keep);
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  socket?.on('error', () => undefined).destroy();
}

async function obey(command: LoadCommand): Promise<Counts> {
  switch (command.op) {
    case 'requests':
      counts = empty();
      for (let i = 0; i < command.count; i++) await request(undefined, command.path ?? '/', false);
      break;
    case 'start':
      counts = empty();
      stopping = false;
      workers = [
        ...Array.from({ length: command.fresh }, () => worker(false, command.pauseMs)),
        ...Array.from({ length: command.kept }, () => worker(true, command.pauseMs)),
      ];
      break;
    case 'counts':
      break;
    case 'stop':
      stopping = true;
      await Promise.all(workers);
      break;
  }
  return counts;
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await obey(JSON.parse(line) as LoadCommand))}\n`);
}
process.exit(0);
