/** Neighbours as the daemon lists them. */
import type { Address } from '../../model/cluster.ts';
import type { Connection } from './connection.ts';
import { DaemonError } from './daemon.ts';
import type { Call } from './failures.ts';
import { readTableSize, tableRequest } from './path-messages.ts';
import { listPeerRequest } from './peer-messages.ts';
import { readListedPeer } from './peer-status.ts';
import type { ListedPeer } from './peer-status.ts';

/** Prefixes in the daemon's table up to which those sent to each neighbour are counted. */
const countedRoutes = 20_000;

/**
 * Whether the daemon may be asked how many prefixes each neighbour was sent: it goes through its whole table for every
 * neighbour, and does nothing else meanwhile (measured: 2 s for 100,000 routes, where to ask for the size of the table takes 20 to 70 ms).
 */
export async function countable(connection: Connection, call: Call): Promise<boolean> {
  const { dialect } = connection;
  const size = (family: 4 | 6): Promise<number> => connection.unary('GetTable', tableRequest(dialect, family), readTableSize, call);
  try {
    return (await size(4)) + (await size(6)) <= countedRoutes;
  } catch (error) {
    // Before it has an autonomous system there is no table; a family may be switched off.
    if (error instanceof DaemonError && (error.code === 'NotStarted' || error.code === 'Refused')) return true;
    throw error;
  }
}

export async function listPeers(
  connection: Connection,
  address: Address | undefined,
  advertised: boolean,
  call: Call,
): Promise<ListedPeer[]> {
  const peers: ListedPeer[] = [];
  await connection.drain(
    'ListPeer',
    listPeerRequest(address, advertised),
    (bytes) => readListedPeer(bytes, connection.dialect, advertised),
    (peer) => peers.push(peer),
    call,
  );
  return peers;
}
