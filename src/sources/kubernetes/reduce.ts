/** Objects of the API as they arrive, reduced to what the model needs: whatever else they hold is let go at once. */
import { leaseNamePrefix, programmedRevisionAnnotation } from '../../kubernetes/realserver-lease.ts';
import { addressKind, canonicalAddress } from '../../model/address.ts';
import type { Address, ClusterService, DrainPolicy, Node, Problem, ServicePort } from '../../model/cluster.ts';
import { parseDrainSteps, parseDrainTimeout } from '../../model/drain.ts';
import { isMap, listAt, mapAt, revisionOf, textAt, type Identity, type Json } from '../../kubernetes/json.ts';

/** Told about what is ignored although somebody meant something by it. */
export type Warn = (problem: Problem) => void;

/** A Service without its endpoints, which come from its slices. */
export type ReducedService = Omit<ClusterService, 'endpoints' | 'revision'>;

/** The limits of the API itself (k8s.io/api, core/v1 and discovery/v1): what is beyond them no server has let in. */
const mostPorts = 1000;
const mostAddresses = 100;

/** Texts that many objects share, once each. Bounded: names come and go for as long as the agent runs. */
export class Interner {
  readonly #texts = new Map<string, string>();

  share(text: string): string {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    if (this.#texts.size >= 10_000) this.#texts.clear();
    this.#texts.set(text, text);
    return text;
  }
}

/** An address that packets can be sent to, in canonical text. */
export function usableAddress(text: string | undefined): Address | undefined {
  const address = text === undefined ? undefined : canonicalAddress(text);
  return address !== undefined && addressKind(address) === 'unicast' ? address : undefined;
}

export function isPort(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535;
}

const protocols: ReadonlyMap<string, ServicePort['protocol']> = new Map([
  ['TCP', 'tcp'],
  ['UDP', 'udp'],
  ['SCTP', 'sctp'],
]);

/** TCP where the API leaves it out; undefined for one that is not known here. */
export function protocolOf(port: unknown): ServicePort['protocol'] | undefined {
  return protocols.get(textAt(port, 'protocol') ?? 'TCP');
}

function portsOf(spec: Json, interner: Interner): ServicePort[] {
  return listAt(spec, 'ports', mostPorts).flatMap((item): ServicePort[] => {
    const port = isMap(item) ? item['port'] : undefined;
    const protocol = protocolOf(item);
    return isPort(port) && protocol !== undefined ? [{ name: interner.share(textAt(item, 'name') ?? ''), port, protocol }] : [];
  });
}

export const drainTimeoutAnnotation = 'ravel.io/drain-timeout';
export const drainStepsAnnotation = 'ravel.io/drain-steps';

function drainOf({ key }: Identity, annotations: Json, warn: Warn): DrainPolicy | undefined {
  const read = <Result>(name: string, parse: (text: string) => Result | undefined, like: string): Result | undefined => {
    const text = textAt(annotations, name);
    if (text === undefined) return undefined;
    const parsed = parse(text);
    if (parsed === undefined) {
      const path = `services.${JSON.stringify(key)}.metadata.annotations.${JSON.stringify(name)}`;
      warn({
        path,
        message: `${JSON.stringify(text.slice(0, 64))} is not understood and is ignored; it is written like ${JSON.stringify(like)}`,
      });
    }
    return parsed;
  };
  const timeoutMilliseconds = read(drainTimeoutAnnotation, parseDrainTimeout, '30s');
  const steps = read(drainStepsAnnotation, parseDrainSteps, '4/20s');
  if (timeoutMilliseconds === undefined && steps === undefined) return undefined;
  return { ...(timeoutMilliseconds === undefined ? {} : { timeoutMilliseconds }), ...(steps === undefined ? {} : { steps }) };
}

/** An ExternalName has no address by its kind, a headless Service by its owner's wish (Kubernetes concepts, "Service"). */
function unsupportedOf(spec: Json): ClusterService['unsupported'] {
  if (textAt(spec, 'type') === 'ExternalName') return 'externalName';
  return textAt(spec, 'clusterIP') === 'None' ? 'headless' : undefined;
}

export function reduceService(object: Json, identity: Identity, interner: Interner, warn: Warn): ReducedService {
  const spec = mapAt(object, 'spec');
  const unsupported = unsupportedOf(spec);
  const drain = drainOf(identity, mapAt(mapAt(object, 'metadata'), 'annotations'), warn);
  return {
    ...{ namespace: interner.share(identity.namespace), name: identity.name, ports: portsOf(spec, interner) },
    ...(unsupported === undefined ? {} : { unsupported }),
    ...(drain === undefined ? {} : { drain }),
  };
}

function labelsOf(object: Json, interner: Interner): Record<string, string> {
  const labels = mapAt(mapAt(object, 'metadata'), 'labels');
  return Object.fromEntries(
    Object.entries(labels).flatMap(([key, value]) => (typeof value === 'string' ? [[interner.share(key), interner.share(value)]] : [])),
  );
}

/** Where pods are told not to go: the field, or the taint that the control plane derives from it. */
function isUnschedulable(spec: Json): boolean {
  const tainted = (taint: unknown): boolean => textAt(taint, 'key') === 'node.kubernetes.io/unschedulable';
  return spec['unschedulable'] === true || listAt(spec, 'taints', mostAddresses).some(tainted);
}

export function reduceNode(object: Json, { name }: Identity, interner: Interner): Node {
  const status = mapAt(object, 'status');
  const addresses = new Set<Address>();
  for (const item of listAt(status, 'addresses', mostAddresses)) {
    const address = textAt(item, 'type') === 'InternalIP' ? usableAddress(textAt(item, 'address')) : undefined;
    if (address !== undefined) addresses.add(address);
  }
  const ready = (condition: unknown): boolean => textAt(condition, 'type') === 'Ready' && textAt(condition, 'status') === 'True';
  return {
    name: interner.share(name),
    addresses: [...addresses],
    labels: labelsOf(object, interner),
    ready: listAt(status, 'conditions', mostAddresses).some(ready),
    unschedulable: isUnschedulable(mapAt(object, 'spec')),
  };
}

/** Up to which revision a realserver has programmed its pods. */
export interface Confirmation {
  readonly node: string;
  readonly revision: number;
}

/**
 * Undefined for a lease that says nothing. How old it is does not matter: what was programmed stays programmed. Its name
 * has to be the one of its node, so that two leases never speak for one.
 */
export function reduceLease(object: Json, identity: Identity, interner: Interner): Confirmation | undefined {
  const node = textAt(mapAt(object, 'spec'), 'holderIdentity') ?? '';
  const revision = revisionOf(textAt(mapAt(mapAt(object, 'metadata'), 'annotations'), programmedRevisionAnnotation));
  if (node === '' || identity.name !== `${leaseNamePrefix}${node}` || Number.isNaN(revision)) return undefined;
  return { node: interner.share(node), revision };
}
