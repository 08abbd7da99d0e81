/** A small valid cluster for tests to spoil, and a short way to read one. */
import { readCluster, type ReadOptions, type ReadResult } from '../../src/model/cluster-file.ts';
import type { ClusterState } from '../../src/model/cluster.ts';
import { runThrough } from '../../src/model/slices.ts';

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export function clusterInput(): Record<string, Json> {
  return {
    nodes: [
      { name: 'n1', addresses: ['10.20.0.11', '2001:db8:20::11'], labels: { pool: 'lb' } },
      { name: 'n2', addresses: ['10.20.0.12'], labels: { pool: 'lb' }, ready: false, unschedulable: true },
    ],
    services: [
      {
        namespace: 'shop',
        name: 'api',
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        endpoints: [
          { address: '10.50.1.2', port: 8080, node: 'n1' },
          { address: '10.50.2.2', port: 8080, portName: 'http', node: 'n2', ready: false, terminating: true },
        ],
      },
      { namespace: 'dns', name: 'resolver', ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] },
    ],
    config: {
      '192.0.2.10': { '80': { namespace: 'shop', service: 'api', portName: 'http' } },
      '192.0.2.11': {
        '53': {
          ...{ namespace: 'dns', service: 'resolver', portName: 'dns', tcpEnabled: true, udpEnabled: true },
          ipvsOptions: { scheduler: 'rr', forwardingMethod: 'i', uThreshold: 30000, lThreshold: 24000 },
        },
      },
    },
    config6: { '2001:db8::10': { '80': { namespace: 'shop', service: 'api', portName: 'http' } } },
  };
}

export function read(input: unknown, options: Partial<ReadOptions> = {}): ReadResult {
  const text = typeof input === 'string' || input instanceof Uint8Array ? input : JSON.stringify(input, null, 2);
  return runThrough(readCluster(text, { carrier: 'cluster', ...options }));
}

export function stateOf(input: unknown, options: Partial<ReadOptions> = {}): ClusterState {
  const { state, errors } = read(input, options);
  if (state === undefined) throw new Error(JSON.stringify(errors));
  return state;
}

/** `path: message` of each. */
export function words(problems: ReadResult['errors']): string[] {
  return problems.map(({ path, message }) => `${path}: ${message}`);
}
