/**
 * A pod: answers HTTP with who it is and who asked.  pod.mjs NAME PORT
 * `GET /<bytes>` pads the answer to that many bytes. On SIGTERM it closes connections politely, with the
 * next answer on each, and ends when the last is gone.
 */
import { createServer, type Socket } from 'node:net';

const [name = 'pod', port = '8080'] = process.argv.slice(2);
let leaving = false;
const connections = new Set<Socket>();

function answer(socket: Socket, request: string): void {
  const keep = !leaving && !/^connection: *close/im.test(request);
  const size = Number(/^GET \/(\d+) /.exec(request)?.[1] ?? 0);
  const body = JSON.stringify({ pod: name, client: socket.remoteAddress }).padEnd(size, ' ');
  const head = `HTTP/1.1 200 OK\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: ${keep ? 'keep-alive' : 'close'}\r\n\r\n`;
  socket.write(head + body);
  if (!keep) socket.end();
}

const server = createServer({ noDelay: true }, (socket) => {
  connections.add(socket);
  let pending = '';
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    pending += text;
    for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
      answer(socket, pending.slice(0, end + 2));
      pending = pending.slice(end + 4);
    }
  });
  // A client that is killed resets its connections.
  socket.on('error', () => socket.destroy());
  socket.on('close', () => connections.delete(socket));
});
server.listen(Number(port), '0.0.0.0', 1024, () => process.stdout.write('ready\n'));

process.on('SIGTERM', () => {
  leaving = true;
  server.close(() => process.exit(0));
});
