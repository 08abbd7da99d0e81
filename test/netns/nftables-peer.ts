/**
 * A program for the ends of connections, run inside a namespace:
 *   nftables-peer.ts serve tcp|udp ADDRESS PORT NAME     answers every connection or datagram with NAME and who asked
 *   nftables-peer.ts ask tcp|udp ADDRESS PORT COUNT      asks COUNT times, prints the answers as JSON
 * Nothing but Node's own modules: it starts in every namespace of a test.
 */
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

const [role, protocol, address = '', port = '0', argument = ''] = process.argv.slice(2);

/** `::` takes IPv4 as well. */
const datagrams = address.includes(':') ? 'udp6' : 'udp4';

/** Longer than a SYN or a datagram needs on one machine, shorter than a test. */
const PATIENCE_MS = 5000;

function serve(): void {
  const ready = (): void => {
    process.stdout.write('ready\n');
  };
  const answer = (from: string | undefined): string => JSON.stringify({ name: argument, from: from?.replace('::ffff:', '') });
  if (protocol === 'tcp') {
    createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.end(answer(socket.remoteAddress));
    }).listen({ port: Number(port), host: address }, ready);
    return;
  }
  const socket = createSocket(datagrams);
  socket.on('message', (_, { address: from, port: to }) => socket.send(answer(from), to, from));
  socket.bind(Number(port), address, ready);
}

function askTcp(): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect({ host: address, port: Number(port), timeout: PATIENCE_MS });
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    socket.on('timeout', () => socket.destroy(new Error('no answer')));
    socket.on('error', (error) => (text = JSON.stringify({ error: error.message })));
    socket.on('close', () => resolve(text));
  });
}

/** From a port of its own each time: to conntrack, a port used twice is one connection. */
function askUdp(turn: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(datagrams);
    const end = (text: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(text);
    };
    const timer = setTimeout(() => end(JSON.stringify({ error: 'no answer' })), PATIENCE_MS);
    socket.on('error', ({ message }) => end(JSON.stringify({ error: message })));
    socket.on('message', (message) => end(message.toString()));
    socket.bind(20_000 + turn, () => socket.send('hello', Number(port), address));
  });
}

if (role === 'serve') serve();
else {
  const answers: unknown[] = [];
  for (let k = 0; k < Number(argument); k++) answers.push(JSON.parse(await (protocol === 'tcp' ? askTcp() : askUdp(k))));
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}
