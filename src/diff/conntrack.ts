/**
 * Which flows to VIPs go where nobody is any more. The kernel asks the nat rules once, for the first packet of a
 * flow, and remembers the answer (nf_nat_inet_fn); a sender that never pauses keeps that answer alive for ever,
 * whatever the rules say since. Deleting the entry makes the next packet ask again.
 *
 * An entry to a virtual service is stale when
 *  - it is translated, and who answers (the reply's source) is no current pod: the pod was replaced, all pods are
 *    gone, or the virtual service was deleted;
 *  - it is not translated although there are pods: its first packet came before the rule. While there are none
 *    that is how the kernel must see the flow, so it stays: a sender that goes on makes it anew at once, and
 *    deleting it each time would never end.
 * Everything else stays, so an agent that starts on what it left behind deletes nothing.
 *
 * UDP and SCTP always: datagrams have no end by which a sender would notice, and the heartbeats of an association
 * keep its entry alive. TCP only when asked for. A connection ends with its pod (the pod closes it while it
 * terminates, or the node answers for the address that is gone), and its client connects again, as a new flow. A
 * pod that is terminating is no current pod but still finishes its connections: without its entry the next
 * segment would be taken for a new flow (net.netfilter.nf_conntrack_tcp_loose), sent to another pod and reset.
 */
import type { DesiredNatService } from '../desired/types.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import { answerSocketAt, destinationSocketAt, socketKey, type SocketKey } from '../native/conntrack-columns.ts';
import type { ConntrackColumns } from '../native/conntrack-types.ts';
import { PROTOCOL_NUMBER } from '../native/ipvs-constants.ts';

/**
 * One VIP:port:protocol and everybody who may answer for it on this machine: its current pods, and where IPVS
 * masquerades on the same machine also its destinations; none for a virtual service that was deleted.
 */
export interface ConntrackService extends Pick<DesiredNatService, 'key' | 'address' | 'protocol' | 'port' | 'pods'> {
  /** Its flows that no rule translates are left alone, as {@link ConntrackOptions.keepUntranslated} says for all. Default false. */
  readonly keepUntranslated?: boolean;
}

export interface ConntrackOptions {
  /** Connections too, at the price of those that terminating pods would still have finished. Default false. */
  readonly tcp?: boolean;
  /**
   * Flows that no rule translates are left alone: for a node that is also a director, where IPVS forwards what the
   * rules leave to it. Default false.
   */
  readonly keepUntranslated?: boolean;
}

export interface StaleEntry {
  readonly row: number;
  readonly key: VirtualServiceKey;
  /** `target`: answered by what is no pod of the service; `untranslated`: begun before the service had a rule. */
  readonly why: 'target' | 'untranslated';
}

/** IPPROTO numbers whose entries are looked at. */
export function reconciledProtocols(options: ConntrackOptions = {}): readonly number[] {
  const { tcp, udp, sctp } = PROTOCOL_NUMBER;
  return options.tcp === true ? [tcp, udp, sctp] : [udp, sctp];
}

interface Target {
  readonly key: VirtualServiceKey;
  readonly pods: ReadonlySet<SocketKey>;
  readonly keepUntranslated: boolean;
}

/** By protocol, then by destination. */
function targetsOf(services: Iterable<ConntrackService>): ReadonlyMap<number, ReadonlyMap<SocketKey, Target>> {
  const targets = new Map<number, Map<SocketKey, Target>>();
  for (const service of services) {
    const ofProtocol = targets.get(service.protocol) ?? new Map<SocketKey, Target>();
    targets.set(service.protocol, ofProtocol);
    ofProtocol.set(socketKey(service), {
      key: service.key,
      pods: new Set(service.pods.map(socketKey)),
      keepUntranslated: service.keepUntranslated === true,
    });
  }
  return targets;
}

/** The stale ones among `entries`, in their order. What goes to none of `services` is foreign and never among them. */
export function staleEntries(
  entries: ConntrackColumns,
  services: Iterable<ConntrackService>,
  options: ConntrackOptions = {},
): readonly StaleEntry[] {
  const targets = targetsOf(services);
  const protocols = new Set(reconciledProtocols(options));
  const stale: StaleEntry[] = [];
  for (let row = 0; row < entries.count; row++) {
    const protocol = entries.protocol[row] ?? 0;
    if (!protocols.has(protocol)) continue;
    const destination = destinationSocketAt(entries, row);
    const target = targets.get(protocol)?.get(destination);
    if (target === undefined) continue;
    const answer = answerSocketAt(entries, row);
    // A pod may listen on the VIP itself: then nothing is translated, and rightly so.
    if (target.pods.has(answer)) continue;
    const untranslated = answer === destination;
    if (untranslated && (options.keepUntranslated === true || target.keepUntranslated || target.pods.size === 0)) continue;
    stale.push({ row, key: target.key, why: untranslated ? 'untranslated' : 'target' });
  }
  return stale;
}
