/** Memory of a director that follows the API, on a kernel with IPVS: 1,000 services of ten destinations, every realserver up to date. */
import { setTimeout as wait } from 'node:timers/promises';
import { resources } from '../../src/kubernetes/api.ts';
import { Ipvs } from '../../src/native/index.ts';
import { lease } from '../fake-api/objects.ts';
import { configNamespace, endpointCount, nodeCount, nodeName, serviceCount } from './kubernetes-cluster.ts';
import { end, idleMilliseconds, startAgent, until, withServer } from './kubernetes-rig.ts';
import { residentMemory } from './process-memory.ts';
import { round, type BenchRow } from './row.ts';

/** Interfaces `segment0` and `vip0` are there; the IPVS table is empty. */
export async function runKubernetesDirectorBench(): Promise<BenchRow[]> {
  return withServer(async (rig) => {
    const { store } = rig.server.api;
    // Beyond any revision of this run: nothing waits for a node.
    for (let node = 0; node < nodeCount; node += 1) store.put(resources.leases, lease(configNamespace, nodeName(node), '1000000000'));
    const ipvs = await Ipvs.open();
    const director = startAgent('director', rig);
    try {
      await until('everything is in IPVS', director, async () => {
        await wait(500);
        const { services, destinations } = await ipvs.snapshot();
        return services.count === serviceCount && destinations.count === serviceCount * endpointCount;
      });
      await wait(idleMilliseconds);
      const { resident, peak } = residentMemory(director.pid ?? 0);
      return [
        {
          ...{ name: 'memory of a director on the API, 1,000 services x 10, 100 nodes (resident, idle)', value: resident, unit: 'MiB' },
          ...{ peer: 'its own peak (VmHWM)', peerValue: peak, ratio: round(peak / resident), goal: '<= 150 MiB', met: resident <= 150 },
        },
      ];
    } finally {
      await end(director);
      await ipvs.close();
    }
  });
}
