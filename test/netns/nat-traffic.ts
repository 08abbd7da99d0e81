/**
 * The ends of connections, run inside a namespace, with Node's own modules only:
 *   nat-traffic.ts serve ADDRESS PORT NAME     says NAME and who asked to each connection and echoes what follows; UDP likewise
 *   nat-traffic.ts stream ADDRESS PORT PAUSE   a new connection every PAUSE milliseconds and one that stays; prints what became of
 *                                              them when its standard input ends, and how many there were after each line on it
 *   nat-traffic.ts ask ADDRESS PORT COUNT      so many connections one after another; prints the answers
 */
import { createSocket } from 'node:dgram';
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

const [role, address = '', port = '0', argument = ''] = process.argv.slice(2);
const PATIENCE_MS = 3000;

function serve(): void {
  const hello = (from: string | undefined): string => `${JSON.stringify({ name: argument, from: from?.replace('::ffff:', '') })}\n`;
  const datagrams = address.includes(':') ? createSocket({ type: 'udp6', ipv6Only: true }) : createSocket('udp4');
  datagrams.on('message', (_, from) => datagrams.send(hello(from.address), from.port, from.address));
  datagrams.bind(Number(port), address);
  createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.write(hello(socket.remoteAddress));
    socket.pipe(socket);
  }).listen({ port: Number(port), host: address, ipv6Only: true }, () => void process.stdout.write('ready\n'));
}

/** The server's first line; rejects when it does not come. */
function greeting(): Promise<{ socket: Socket; hello: { name: string; from: string } }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port: Number(port), timeout: PATIENCE_MS });
    let text = '';
    socket.setEncoding('utf8');
    socket.on('timeout', () => socket.destroy(new Error('no answer')));
    socket.on('error', reject);
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (text.endsWith('\n')) resolve({ socket, hello: JSON.parse(text) as { name: string; from: string } });
    });
    socket.on('close', () => reject(new Error('closed before the first line')));
  });
}

async function stream(pause: number): Promise<void> {
  const names: Record<string, number> = {};
  const failures: string[] = [];
  const running = new Set<Promise<void>>();
  let [started, lasting, ended] = [0, 0, false];
  const { socket } = await greeting();
  socket.setTimeout(PATIENCE_MS);
  socket.removeAllListeners('data').on('data', (text: string) => (lasting += text.length));
  socket.on('error', (error) => failures.push(`the lasting one: ${error.message}`));
  socket.on('close', () => {
    if (!ended) failures.push('the lasting one was closed');
  });
  const once = async (): Promise<void> => {
    try {
      const { socket: short, hello } = await greeting();
      names[hello.name] = (names[hello.name] ?? 0) + 1;
      short.destroy();
    } catch (error) {
      failures.push((error as Error).message);
    }
  };
  const timer = setInterval(() => {
    started += 1;
    socket.write('x');
    const one = once().finally(() => running.delete(one));
    running.add(one);
  }, pause);
  process.stdout.write('ready\n');
  for await (const line of createInterface({ input: process.stdin })) if (line !== '') process.stdout.write(`${started}\n`);
  clearInterval(timer);
  await Promise.all(running);
  const before = lasting;
  socket.write('xx');
  const deadline = performance.now() + PATIENCE_MS;
  while (lasting <= before && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  ended = true;
  socket.destroy();
  process.stdout.write(`${JSON.stringify({ started, names, failures, lasting: lasting > before })}\n`);
}

async function ask(count: number): Promise<void> {
  const answers: unknown[] = [];
  for (let turn = 0; turn < count; turn++) {
    try {
      const { socket, hello } = await greeting();
      answers.push(hello);
      socket.destroy();
    } catch (error) {
      answers.push({ error: (error as Error).message });
    }
  }
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}

if (role === 'serve') serve();
else if (role === 'stream') await stream(Number(argument));
else await ask(Number(argument));
