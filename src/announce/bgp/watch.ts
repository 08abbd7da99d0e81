/** News of neighbours, and of the connection: both together, so that silence means that nothing happened. */
import type { Clock, Timer } from '../../model/clock.ts';
import type { Connection } from './connection.ts';
import { DaemonError } from './daemon.ts';
import type { DaemonEvent, DaemonIdentity } from './daemon.ts';
import type { Call } from './failures.ts';
import { watchPeersRequest } from './peer-messages.ts';
import { readPeerEvent } from './peer-status.ts';

/** Between two questions to a daemon that tells nothing by itself, from one answer to the next question. */
const beatMilliseconds = 10_000;

/** Calls `failed` once: when the daemon answers no more, or has begun anew without the connection breaking. */
function beat(connection: Connection, clock: Clock, call: Call, failed: (error: DaemonError) => void): { stop(): void } {
  let stopped = false;
  let first: DaemonIdentity | undefined;
  let timer: Timer | undefined;
  const stop = (): void => {
    stopped = true;
    timer?.cancel();
  };
  const ask = async (): Promise<void> => {
    try {
      const now = await connection.identity(call);
      if (stopped) return;
      first ??= now;
      // Its paths went with the autonomous system.
      if (now.asn !== first.asn || now.routerId !== first.routerId) {
        throw new DaemonError('Unreachable', call.operation, call.subject, `it was AS ${first.asn}, and is AS ${now.asn} now`);
      }
      timer = clock.after(beatMilliseconds, () => void ask());
    } catch (error) {
      if (stopped) return;
      stop();
      failed(connection.failure(error, call));
    }
  };
  void ask();
  return { stop };
}

/** See BgpDaemon.watch. Throws a DaemonError. */
export async function* watchPeers(connection: Connection, clock: Clock, signal: AbortSignal, call: Call): AsyncIterable<DaemonEvent> {
  // Wrapped: a stream of objects takes a bare `undefined` for its end.
  const stream = connection.open('WatchEvent', watchPeersRequest(), (bytes) => ({ event: readPeerEvent(bytes) }), call);
  const cancel = (): void => stream.cancel();
  let failure: DaemonError | undefined;
  const heart = beat(connection, clock, call, (error) => {
    failure = error;
    stream.cancel();
  });
  signal.addEventListener('abort', cancel);
  try {
    for await (const { event } of stream as AsyncIterable<{ readonly event: DaemonEvent | undefined }>) {
      if (signal.aborted) return;
      if (event !== undefined) yield event;
    }
  } catch (error) {
    if (signal.aborted) return;
    throw failure ?? connection.failure(error, call);
  } finally {
    heart.stop();
    signal.removeEventListener('abort', cancel);
    stream.cancel();
  }
  if (signal.aborted) return;
  throw failure ?? new DaemonError('Unreachable', call.operation, call.subject, 'the daemon ended the stream');
}
