import { mkdir, rm } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import { dirname } from 'node:path';

/** Longest path that fits a socket address (sizeof sun_path, less its closing zero). */
const longestPath = 107;

/** Asks the agent behind a socket; undefined when none answers. */
export function askAgent(path: string, timeoutMilliseconds = 2000): Promise<unknown> {
  return new Promise((resolve, reject) => {
    // One question, one connection: a kept one might lead to an agent that is gone.
    const call = request({ socketPath: path, path: '/status', timeout: timeoutMilliseconds, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')));
        } catch (error) {
          reject(new Error(`${path}: not an answer of the agent`, { cause: error }));
        }
      });
    });
    call.on('timeout', () => call.destroy(new Error(`${path}: no answer within ${timeoutMilliseconds} ms`)));
    call.on('error', (error: NodeJS.ErrnoException) => {
      // No file, or a file that a dead agent left behind.
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(undefined);
      else reject(error);
    });
    call.end();
  });
}

/** Closing removes the socket's file, so it must be over before another agent may make its own. */
export function stopServing(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

/**
 * Answers `GET /status` on a unix socket that only root may use. Throws when another agent answers
 * there already: two agents of one mode in one namespace would undo each other's work.
 */
export async function serveStatus(path: string, document: () => unknown): Promise<Server> {
  if (Buffer.byteLength(path) > longestPath) throw new Error(`${path}: longer than a socket path may be (${longestPath} bytes)`);
  const other = (await askAgent(path)) as { pid?: number } | null | undefined;
  if (other !== undefined) {
    const who = `another agent answers here (process ${other?.pid ?? '?'})`;
    throw new Error(`${path}: ${who}; stop it first, or give this one its own --state-dir if it is for another network namespace`);
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  await rm(path, { force: true });
  const server = createServer((incoming, response) => {
    const known = incoming.method === 'GET' && incoming.url === '/status';
    response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' });
    response.end(`${JSON.stringify(known ? document() : { error: 'only GET /status' })}\n`);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The file is made within this call: there is no moment at which others could connect.
    const before = process.umask(0o177);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
    process.umask(before);
  });
  // Answering is a courtesy: it does not keep a stopped agent alive.
  server.unref();
  return server;
}
