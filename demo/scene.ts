/** What the chapters of the demo share: the machines, the file, the agents, the client. */
import { LabAgent } from '../test/lab/agent.ts';
import { ClusterFile, VIP, VIP_PORT } from '../test/lab/cluster-file.ts';
import { LoadClient } from '../test/lab/load.ts';
import { Topology } from '../test/lab/topology.ts';
import type { Report } from './report.ts';

export type AgentName = 'director' | 'n1' | 'n2';

export interface Scene {
  readonly report: Report;
  readonly topology: Topology;
  readonly file: ClusterFile;
  readonly agents: Readonly<Record<AgentName, LabAgent>>;
  readonly client: LoadClient;
}

export async function build(report: Report): Promise<Scene> {
  const topology = await Topology.create();
  await topology.addPod('web-1', 'n1');
  await topology.addPod('web-2', 'n1');
  await topology.addPod('web-3', 'n2');
  await topology.placePod('web-4', 'n2');
  const file = new ClusterFile(topology);
  file.write();
  await plantForeignState(topology);
  const agents = {
    director: new LabAgent(topology.hosts.director, 'director', file.path),
    n1: new LabAgent(topology.hosts.n1, 'realserver', file.path),
    n2: new LabAgent(topology.hosts.n2, 'realserver', file.path),
  };
  return { report, topology, file, agents, client: new LoadClient(topology.hosts.client, VIP, VIP_PORT) };
}

/** Others use these machines too; whatever the agents do, this has to stay. */
async function plantForeignState(topology: Topology): Promise<void> {
  const service = '-A -t 10.99.0.1:443 -s rr -p 300\n-a -t 10.99.0.1:443 -r 10.20.0.11:8443 -m -w 5\n';
  const table =
    'table ip neighbour {\n chain prerouting {\n type nat hook prerouting priority dstnat; policy accept;\n ip daddr 10.99.0.2 counter accept\n }\n}\n';
  for (const host of [topology.hosts.director, topology.hosts.n1, topology.hosts.n2]) {
    await host.ip('link add foreign0 type dummy', 'addr add 10.99.0.3/32 dev foreign0', 'link set foreign0 up');
    await host.run(['ipvsadm', '-R'], { input: service });
    await host.run(['nft', '-f', '-'], { input: table });
  }
}

export async function destroy(scene: Scene): Promise<void> {
  await scene.client.close();
  await scene.topology.close();
}
