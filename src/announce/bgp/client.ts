/**
 * The client of gobgpd, for GoBGP 3 and 4 alike: gRPC with messages written and read by hand, so that it needs neither the
 * daemon's protocol files nor code made at run time. Paths travel as the bytes of BGP itself (path-messages.ts).
 *
 * A connection is made at the first call, kept, and dropped when a call fails on it; the next call makes another one and
 * finds out anew who answers: the daemon may have been upgraded meanwhile. When to call again is the caller's to decide.
 */
import type { BgpPath } from '../../model/bgp.ts';
import type { Address } from '../../model/cluster.ts';
import { Connection } from './connection.ts';
import type { ConnectionOptions } from './connection.ts';
import { DaemonError } from './daemon.ts';
import type {
  BgpDaemon,
  DaemonEvent,
  DaemonFailure,
  DaemonIdentity,
  DaemonOptions,
  ListedPath,
  PeerRequest,
  PeerStatus,
} from './daemon.ts';
import { parseEndpoint } from './endpoint.ts';
import type { Call } from './failures.ts';
import { InOrder } from './in-order.ts';
import { prefixFamily } from './nlri.ts';
import { addPathRequest, deletePathRequest, listPathRequest, readListedPaths } from './path-messages.ts';
import { countable, listPeers } from './peer-list.ts';
import { deletePeerRequest, peerRequest, startRequest } from './peer-messages.ts';
import { sameSetup } from './peer-setup.ts';
import { watchPeers } from './watch.ts';

/** Prefixes in one request of a list: 100 KB at most. */
const prefixesPerRequest = 2000;

const nothing = (): undefined => undefined;

class GobgpDaemon implements BgpDaemon {
  readonly endpoint: string;
  readonly #options: ConnectionOptions;
  /** Calls about paths; the order of those about one prefix is kept. */
  readonly #paths = new InOrder();
  #connection: Promise<Connection> | undefined;
  #closed = false;

  constructor(options: DaemonOptions) {
    const endpoint = parseEndpoint(options.endpoint);
    this.endpoint = endpoint.text;
    this.#options = {
      endpoint,
      tls: options.tls,
      clock: options.clock,
      callMilliseconds: options.callMilliseconds ?? 5000,
      listMilliseconds: options.listMilliseconds ?? 30_000,
    };
  }

  identity(): Promise<DaemonIdentity> {
    return this.#with({ operation: 'identity', subject: this.endpoint }, (connection, call) => connection.identity(call));
  }

  async start(speaker: { readonly asn: number; readonly routerId: Address; readonly listenPort?: number }): Promise<void> {
    const call = { operation: 'start', subject: `AS ${speaker.asn}` };
    await this.#with(call, (connection) => connection.unary('StartBgp', startRequest(speaker), nothing, call));
  }

  /**
   * A sweep reads everything that the daemon has: nothing on its side selects by origin (TableType LOCAL is the same table as
   * GLOBAL, ADJ_IN wants a neighbour, WatchEvent tells all of them and not when it has told the last). What
   * neighbours told is looked at no further than that, and not kept. Measured beside 100,000 learned routes: a sweep 1.5 s,
   * of which 0.5 s of the processor here; 1,000 prefixes by name 15 ms.
   */
  async list(prefixes?: readonly string[]): Promise<readonly ListedPath[]> {
    const call = { operation: 'list', subject: prefixes === undefined ? this.endpoint : `${prefixes.length} prefixes` };
    return this.#with(call, async (connection) => {
      const found: ListedPath[] = [];
      for (const family of [4, 6] as const) {
        const asked = prefixes?.filter((prefix) => prefixFamily(prefix) === family);
        for (let at = 0; asked === undefined ? at === 0 : at < asked.length; at += prefixesPerRequest) {
          await connection.drain(
            'ListPath',
            listPathRequest(connection.dialect, family, asked?.slice(at, at + prefixesPerRequest) ?? []),
            (bytes) => readListedPaths(bytes, family, asked === undefined),
            (paths) => found.push(...paths),
            call,
          );
        }
      }
      return found;
    });
  }

  add(paths: readonly BgpPath[]): Promise<readonly DaemonFailure[]> {
    return this.#each('addPath', 'AddPath', paths, (connection, path) => addPathRequest(connection.dialect, path));
  }

  withdraw(paths: readonly { readonly prefix: string }[]): Promise<readonly DaemonFailure[]> {
    return this.#each('withdrawPath', 'DeletePath', paths, (connection, { prefix }) => deletePathRequest(connection.dialect, prefix));
  }

  /**
   * A call per path, 64 under way (1,000 take 160 to 270 ms). The daemon's stream of paths is much faster (7 ms), but it
   * ends at the first that it refuses, and does not say which that was.
   */
  async #each<P extends { readonly prefix: string }>(
    operation: string,
    method: string,
    paths: readonly P[],
    request: (connection: Connection, path: P) => Uint8Array,
  ): Promise<readonly DaemonFailure[]> {
    if (paths.length === 0) return [];
    return this.#with({ operation, subject: `${paths.length} paths` }, async (connection) => {
      const failures: DaemonFailure[] = [];
      await this.#paths.run(
        paths,
        ({ prefix }) => prefix,
        async (path) => {
          const { prefix } = path;
          try {
            await connection.unary(method, request(connection, path), nothing, { operation, subject: prefix });
          } catch (error) {
            if (error instanceof TypeError)
              failures.push({ prefix, error: new DaemonError('Refused', operation, prefix, error.message, { cause: error }) });
            else if (error instanceof DaemonError && error.code === 'Refused') failures.push({ prefix, error });
            else throw error;
          }
        },
      );
      return failures;
    });
  }

  async peers(): Promise<readonly PeerStatus[]> {
    const listed = await this.#with({ operation: 'peers', subject: this.endpoint }, async (connection, call) =>
      listPeers(connection, undefined, await countable(connection, call), call),
    );
    return listed.map(({ status, password }) => ({ ...status, hasPassword: (asked) => password === (asked ?? '') }));
  }

  async addPeer(peer: PeerRequest): Promise<void> {
    const call = { operation: 'addPeer', subject: peer.address };
    await this.#with(call, async (connection) => {
      const identity = await connection.identity(call);
      await connection.unary('AddPeer', peerRequest(connection.dialect, peer, identity), nothing, call);
    });
  }

  /**
   * What the daemon itself answers to UpdatePeer tells of policies only; whether the session went down is seen from the
   * session. A password, the autonomous system, families, graceful restart, passive, hops and the description reset it (the
   * daemon removes the neighbour and adds it again); timers are kept for the next session, BFD is changed in place.
   */
  async updatePeer(peer: PeerRequest): Promise<{ readonly resets: boolean }> {
    const call = { operation: 'updatePeer', subject: peer.address };
    return this.#with(call, async (connection) => {
      const [before] = await listPeers(connection, peer.address, false, call);
      if (before === undefined) throw new DaemonError('Refused', call.operation, call.subject, 'there is no such neighbour');
      if (sameSetup(before, peer)) return { resets: false };
      const request = peerRequest(connection.dialect, peer, await connection.identity(call));
      if (connection.dialect.major === 3 && before.status.configured.multihop !== peer.multihop) {
        // GoBGP 3 does not look at the number of hops when it updates a neighbour.
        await connection.unary('DeletePeer', deletePeerRequest(peer.address), nothing, call);
        await connection.unary('AddPeer', request, nothing, call);
      } else {
        await connection.unary('UpdatePeer', request, nothing, call);
      }
      const since = before.status.establishedSeconds;
      const [after] = await listPeers(connection, peer.address, false, call);
      return { resets: since !== undefined && after?.status.establishedSeconds !== since };
    });
  }

  async deletePeer(address: Address): Promise<void> {
    const call = { operation: 'deletePeer', subject: address };
    await this.#with(call, (connection) => connection.unary('DeletePeer', deletePeerRequest(address), nothing, call));
  }

  async *watch(signal: AbortSignal): AsyncIterable<DaemonEvent> {
    if (signal.aborted) return;
    const call = { operation: 'watch', subject: this.endpoint };
    const connection = await this.#connected(call);
    try {
      yield* watchPeers(connection, this.#options.clock, signal, call);
    } catch (error) {
      this.#drop(connection, error);
      throw error;
    }
  }

  close(): void {
    this.#closed = true;
    void this.#connection?.then((connection) => connection.close(), nothing);
    this.#connection = undefined;
  }

  async #with<T>(call: Call, use: (connection: Connection, call: Call) => Promise<T>): Promise<T> {
    const connection = await this.#connected(call);
    try {
      return await use(connection, call);
    } catch (error) {
      this.#drop(connection, error);
      throw error;
    }
  }

  /** What the daemon said no to leaves the connection as good as it was. */
  #drop(connection: Connection, error: unknown): void {
    if (error instanceof DaemonError && error.code !== 'Refused' && error.code !== 'NotStarted') connection.close();
  }

  async #connected(call: Call): Promise<Connection> {
    const current = this.#connection;
    // A failed attempt is not there any more: see below.
    if (current !== undefined) {
      const connection = await current;
      if (!connection.stale) return connection;
      connection.close();
      if (this.#connection === current) this.#connection = undefined;
    }
    if (this.#closed) throw new DaemonError('Unreachable', call.operation, call.subject, 'the client is closed');
    if (this.#connection !== undefined) return this.#connected(call);
    const opening = Connection.open(this.#options, call);
    this.#connection = opening;
    try {
      const connection = await opening;
      // Closed meanwhile: see close().
      return connection;
    } catch (error) {
      if (this.#connection === opening) this.#connection = undefined;
      throw error;
    }
  }
}

/** Connects when first asked. @throws TypeError for an endpoint that is none */
export function openDaemon(options: DaemonOptions): BgpDaemon {
  return new GobgpDaemon(options);
}
