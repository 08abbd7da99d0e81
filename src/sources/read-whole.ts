/** One file, read whole or not at all. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** The file could not be read at all. */
export class UnreadableError extends Error {
  override readonly name = 'UnreadableError';
}

/** While it was read, the file changed: what was read may be half old and half new. */
export class ChangedError extends Error {
  override readonly name = 'ChangedError';
}

/** What the system said, for people. */
export function systemMessage(file: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return `${file}: no such file`;
  if (code === 'EACCES') return `${file}: not allowed to read it`;
  return `${file}: ${code ?? message}`;
}

interface Content {
  readonly bytes: Buffer;
  readonly signature: string;
}

/** Changes whenever the file is written or replaced, also within one clock tick and with the same length. */
export function signatureOf(stats: { dev: bigint; ino: bigint; size: bigint; mtimeNs: bigint; ctimeNs: bigint }): string {
  return [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' ');
}

/**
 * @throws UnreadableError when it is no regular file or longer than `limit`
 * @throws ChangedError when somebody wrote to it meanwhile
 * @throws the system's error when it cannot be opened or read
 */
export async function readWhole(file: string, limit: number): Promise<Content> {
  // Without O_NONBLOCK, opening a FIFO would hold a thread until somebody writes to it.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const before = await handle.stat({ bigint: true });
    if (!before.isFile()) throw new UnreadableError(`${file}: not a regular file`);
    if (before.size > BigInt(limit)) throw new UnreadableError(`${file}: ${before.size} bytes are more than the limit of ${limit}`);
    const bytes = Buffer.allocUnsafe(Number(before.size));
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await handle.read(bytes, length, bytes.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    const after = await handle.stat({ bigint: true });
    if (length < bytes.length || signatureOf(after) !== signatureOf(before)) throw new ChangedError(file);
    return { bytes, signature: signatureOf(before) };
  } finally {
    await handle.close();
  }
}
