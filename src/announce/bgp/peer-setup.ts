/** Whether the daemon has a neighbour as it is wanted. */
import type { PeerRequest } from './daemon.ts';
import { effective } from './peer-defaults.ts';
import type { ListedPeer } from './peer-status.ts';

const sorted = (families: readonly (4 | 6)[] | undefined): string => [...new Set(families)].sort().join();

/** Defaults stand for what is not said. */
export function sameSetup({ status, password }: ListedPeer, wanted: PeerRequest): boolean {
  const { configured, ours } = status;
  const { connectRetry, hold, keepalive, families } = effective(wanted);
  const { bfd } = wanted;
  return (
    ours &&
    configured.asn === wanted.asn &&
    password === (wanted.password ?? '') &&
    configured.multihop === wanted.multihop &&
    configured.connectRetrySeconds === connectRetry &&
    configured.holdSeconds === hold &&
    configured.keepaliveSeconds === keepalive &&
    configured.passive === (wanted.passive ?? false) &&
    configured.gracefulRestartSeconds === wanted.gracefulRestartSeconds &&
    sorted(configured.families) === sorted(families) &&
    configured.bfd?.transmitMilliseconds === bfd?.transmitMilliseconds &&
    configured.bfd?.receiveMilliseconds === bfd?.receiveMilliseconds &&
    configured.bfd?.multiplier === bfd?.multiplier
  );
}
