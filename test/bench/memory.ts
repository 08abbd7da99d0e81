/**
 * Memory of a director with 1,000 services of 10 destinations each: the real bundle as a process of its own, on a
 * kernel with IPVS, measured from outside after its first pass and a few idle seconds.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Ipvs } from '../../src/native/index.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { end } from './kubernetes-rig.ts';
import { residentMemory } from './process-memory.ts';
import { round, type BenchRow } from './row.ts';

const services = 1000;
const nodes = 10;

/** 1,000 VIP:ports over 1,000 Services with one ready pod on each of ten nodes. */
export function clusterFile(serviceCount: number, nodeCount: number): string {
  const names = Array.from({ length: nodeCount }, (_, index) => `n${String(index + 1)}`);
  return JSON.stringify({
    nodes: names.map((name, index) => ({ name, addresses: [`10.20.0.${String(index + 10)}`], ready: true })),
    services: Array.from({ length: serviceCount }, (_, service) => ({
      namespace: 'bench',
      name: `s${String(service)}`,
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
      endpoints: names.map((node, index) => ({
        address: `10.${String(100 + index)}.${String(service >> 8)}.${String(service & 255)}`,
        port: 8080,
        portName: 'http',
        node,
        ready: true,
      })),
    })),
    config: Object.fromEntries(
      Array.from({ length: serviceCount }, (_, service) => [
        `10.50.${String(service >> 8)}.${String(service & 255)}`,
        { '80': { namespace: 'bench', service: `s${String(service)}`, portName: 'http' } },
      ]),
    ),
  });
}

export async function runMemoryBench(agent: string, vipInterface: string): Promise<BenchRow[]> {
  const folder = temporaryDirectory('memory');
  const file = join(folder, 'cluster.json');
  writeFileSync(file, clusterFile(services, nodes));
  const child = spawn(
    process.execPath,
    [agent, '--mode=director', `--source-file=${file}`, `--compute-iface=${vipInterface}`, `--state-dir=${folder}`],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const ipvs = await Ipvs.open();
  try {
    const deadline = performance.now() + 180_000;
    for (;;) {
      const snapshot = await ipvs.snapshot();
      if (snapshot.services.count === services && snapshot.destinations.count === services * nodes) break;
      if (child.exitCode !== null) throw new Error(`the agent ended with exit code ${String(child.exitCode)}`);
      if (performance.now() > deadline) throw new Error(`only ${String(snapshot.destinations.count)} destinations after 180 s`);
      await wait(500);
    }
    await wait(10_000); // Idle: what stays resident, not what the first pass needed for a moment.
    const { resident, peak } = residentMemory(child.pid ?? 0);
    return [
      {
        name: 'memory of a director, 1,000 services x 10 (resident after the first pass)',
        value: resident,
        unit: 'MiB',
        peer: 'its own peak (VmHWM)',
        peerValue: peak,
        ratio: round(peak / resident),
        goal: '<= 120 MiB',
        met: resident <= 120,
      },
    ];
  } finally {
    await ipvs.close();
    await end(child);
  }
}
