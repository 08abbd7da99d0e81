import type { NatChoice } from '../drivers/nat-choice.ts';
import { keepListening, nftJudge } from '../reconcile/drift.ts';
import type { Listener, Parts } from './composition.ts';

/**
 * What others do to our rules. nftables tells; legacy iptables does not, so that there only the audit of the loop finds
 * out, and nothing is listened to.
 */
export function natListener({ kernel, clock, random, log }: Parts, nat: NatChoice, doubt: (cause: string) => void): Listener {
  return async (signal) => {
    // A choice that cannot be made now may be made later: the one with events is listened to meanwhile.
    const kind = nat.settled ?? (await nat.choose().catch(() => undefined))?.kind ?? 'nftables';
    if (kind !== 'nftables') return;
    await keepListening(
      {
        name: 'nftables events',
        open: () => kernel.nftables.watch({ signal }),
        onEvent: nftJudge(doubt),
        onGap: () => doubt('nftables events were interrupted'),
        ...{ clock, random, log },
      },
      signal,
    );
  };
}
