/** The change of one virtual service in the maps of one area. */
import type { DesiredNatService, NatServiceId } from '../desired/types.ts';
import type { Address } from '../model/cluster.ts';
import type { Element, Verdict } from '../native/nftables-types.ts';
import { podsChainName, type NatArea } from './nat-layout.ts';
import type { NatEntry } from './nat-state.ts';
import { change, costOf, merged, replacement, type NatChange } from './nat-transaction.ts';

export const serviceFields = ({ address, protocol, port }: NatServiceId) => [address, protocol, port] as const;

/** Of how many shares one is drawn. Fewer than pods would leave pods out, so that is not taken literally. */
export function slotCount({ pods, slots = 0 }: DesiredNatService): number {
  return Math.max(pods.length, slots);
}

export function chainOf(area: NatArea, service: DesiredNatService): string {
  return podsChainName(area, service.protocol, slotCount(service));
}

/** Who draws a share without a pod comes back from a jump, so that clients inside are looked up where pods elsewhere are. */
function verdictOf(area: NatArea, service: DesiredNatService): Verdict {
  return { verdict: slotCount(service) > service.pods.length ? 'jump' : 'goto', chain: chainOf(area, service) };
}

function serviceElement(area: NatArea, service: DesiredNatService): Element {
  return { key: serviceFields(service), value: verdictOf(area, service), comment: service.comment };
}

function endpointElement(id: NatServiceId, slot: number, pod: { address: Address; port: number }): Element {
  return { key: [...serviceFields(id), slot], value: [pod.address, pod.port] };
}

function sameVerdict(area: NatArea, service: DesiredNatService, { verdict, comment }: NatEntry): boolean {
  const wanted = verdictOf(area, service);
  return (
    verdict?.verdict === wanted.verdict &&
    'chain' in verdict &&
    verdict.chain === chainOf(area, service) &&
    comment === (service.comment === '' ? undefined : service.comment)
  );
}

/** Parts of a service's change in the order in which they may be committed apart. */
interface ServiceParts {
  /** Slots that no verdict uses yet, and slots whose pod is replaced: a deletion and a creation together. */
  readonly slots: NatChange[];
  readonly verdict: NatChange;
  /** Slots that no verdict uses any more. */
  readonly surplus: NatChange[];
}

function serviceParts(area: NatArea, service: DesiredNatService | undefined, entry: NatEntry | undefined): ServiceParts {
  const pods = service?.pods ?? [];
  const slots: NatChange[] = [];
  if (service !== undefined) {
    for (const [slot, pod] of pods.entries()) {
      const have = entry?.slots.get(slot);
      if (have?.address === pod.address && have.port === pod.port) continue;
      const element = endpointElement(service, slot, pod);
      slots.push(replacement(area.endpoints, element, have === undefined ? undefined : element.key));
    }
  }
  const surplus: NatChange[] = [];
  if (entry !== undefined) {
    for (const slot of [...entry.slots.keys()].filter((key) => key >= pods.length).sort((a, b) => a - b)) {
      surplus.push(replacement(area.endpoints, undefined, [...serviceFields(entry.id), slot]));
    }
  }
  const same = service === undefined ? entry?.verdict === undefined : entry !== undefined && sameVerdict(area, service, entry);
  const verdict = same
    ? change()
    : replacement(
        area.services,
        service === undefined ? undefined : serviceElement(area, service),
        entry?.verdict === undefined ? undefined : serviceFields(entry.id),
      );
  return { slots, verdict, surplus };
}

/**
 * In one piece if it fits a transaction; a service with hundreds of pods in steps that are safe one by one. Empty when
 * nothing is to be done.
 */
export function serviceChanges(
  area: NatArea,
  service: DesiredNatService | undefined,
  entry: NatEntry | undefined,
  limit: number,
): NatChange[] {
  const { slots, verdict, surplus } = serviceParts(area, service, entry);
  const parts = [...slots, verdict, ...surplus];
  const whole = merged(parts);
  if (costOf(whole) === 0) return [];
  return costOf(whole) <= limit ? [whole] : parts;
}
