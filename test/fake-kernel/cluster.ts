import type { ClusterService, ClusterState, Endpoint, Publication, VirtualService } from '../../src/model/cluster.ts';
import { serviceKey, virtualServiceKey } from '../../src/model/keys.ts';

export interface ClusterShape {
  /** `web: ['n1', 'n1', 'n2']`: one ready pod for each name, on that node. */
  readonly pods: Readonly<Record<string, readonly string[]>>;
  /** `['10.50.0.1', 80, 'web']`, and the forwarding method if it is not "direct". */
  readonly vips: readonly (readonly [address: string, port: number, service: string, forward?: 'direct' | 'tunnel'])[];
  readonly nodes?: readonly string[];
}

function serviceOf(name: string, index: number, pods: readonly string[]): ClusterService {
  const endpoints = pods.map((node, pod): Endpoint => {
    const address = `10.244.${Number(node.slice(1))}.${index * 16 + pod + 1}`;
    return { address, port: 8080, portName: 'http', node, ready: true, terminating: false };
  });
  return { namespace: 'default', name, ports: [{ name: 'http', port: 80, protocol: 'tcp' }], endpoints };
}

/** A small cluster: nodes n1, n2, … have addresses 10.20.0.1, 10.20.0.2, … */
export function cluster({ pods, vips, nodes = ['n1', 'n2'] }: ClusterShape): ClusterState {
  const services = Object.entries(pods).map(([name, places], index) => serviceOf(name, index, places));
  const virtualServices = vips.map(([address, port, service, forward = 'direct']): VirtualService => ({
    ...{ key: virtualServiceKey('tcp', address, port), address, port, protocol: 'tcp', service: serviceKey('default', service) },
    ...{ portName: 'http', scheduler: 'wrr', schedulerFlags: [], forward, upperThreshold: 0, lowerThreshold: 0 },
  }));
  const virtualServicesOf = new Map<string, VirtualService[]>();
  for (const virtualService of virtualServices) {
    virtualServicesOf.set(virtualService.service, [...(virtualServicesOf.get(virtualService.service) ?? []), virtualService]);
  }
  return {
    nodes: new Map(
      nodes.map((name) => [name, { name, addresses: [`10.20.0.${name.slice(1)}`], labels: {}, ready: true, unschedulable: false }]),
    ),
    services: new Map(services.map((service) => [serviceKey(service.namespace, service.name), service])),
    virtualServices: new Map(virtualServices.map((service) => [service.key, service])),
    virtualServicesOf,
    addresses: [...new Set(virtualServices.map(({ address }) => address))].sort(),
    nodeLabels: {},
    mtu: new Map(),
  };
}

export const whole = (state: ClusterState): Publication => ({ state, change: { all: true }, warnings: [] });

/** Publishes `state` as a change of the virtual services of one Service. */
export function changed(state: ClusterState, service: string): Publication {
  const virtualServices = new Set((state.virtualServicesOf.get(`default/${service}`) ?? []).map(({ key }) => key));
  return { state, change: { all: false, virtualServices }, warnings: [] };
}
