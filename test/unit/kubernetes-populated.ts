/** A Kubernetes source with a cluster to follow, and how to change that. */
import { resources } from '../../src/kubernetes/api.ts';
import type { Publication } from '../../src/model/cluster.ts';
import { configMap, node, service, slice, type EndpointInput } from '../fake-api/objects.ts';
import { place, SourceRig, type SourceRigOptions } from '../fake-api/rig.ts';

export const web = { config: { '192.0.2.10': { '80': { service: 'web', portName: 'http' } } } };

export function putConfig(rig: SourceRig, value: unknown = web): void {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  rig.api.store.put(resources.configMaps, configMap(place.namespace, place.name, { [place.key]: text }));
}

export function putPods(rig: SourceRig, endpoints: readonly EndpointInput[], name = 'web'): void {
  rig.api.store.put(resources.endpointSlices, slice({ service: name, endpoints }));
}

export const onN1 = (...addresses: string[]): EndpointInput[] => addresses.map((address) => ({ address, node: 'n1' }));

export function populated(options: SourceRigOptions = {}): SourceRig {
  const rig = new SourceRig(options);
  const { store } = rig.api;
  store.put(resources.services, service({ name: 'web' }));
  putPods(rig, onN1('10.244.1.1'));
  store.put(resources.nodes, node({ name: 'n1', address: '10.20.0.1' }));
  putConfig(rig);
  return rig;
}

export const keys = (publication: Publication | undefined): readonly string[] | 'all' | undefined =>
  publication === undefined ? undefined : publication.change.all ? 'all' : [...publication.change.virtualServices];
export const addresses = (publication: Publication | undefined, name = 'web'): string[] | undefined =>
  publication?.state.services.get(`default/${name}`)?.endpoints.map(({ address }) => address);
