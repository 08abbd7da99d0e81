/** The benches that need IPVS, in one process inside the machine that has it. Writes $RAVEL_OUT/bench-vm.json. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runForwardingBench } from './forwarding.ts';
import { runIpvsBench } from './ipvs.ts';
import { runKubernetesDirectorBench } from './kubernetes-director.ts';
import { runMemoryBench } from './memory.ts';
import type { BenchRow } from './row.ts';

const rows: BenchRow[] = [...(await runIpvsBench()), ...(await runForwardingBench())];
const ip = (words: string): void => void execFileSync('ip', words.split(' '));
ip('link add segment0 type veth peer name segment1');
for (const name of ['segment0', 'segment1']) ip(`link set ${name} up`);
ip('address add 10.20.0.1/24 dev segment0');
rows.push(...(await runMemoryBench(join(process.cwd(), 'dist/ravel-agent.js'), 'segment0')));
// What that agent left in force would not be the next one's.
execFileSync('ipvsadm', ['-C']);
ip('link delete ravel0');
ip('link add vip0 type dummy');
ip('link set vip0 up');
rows.push(...(await runKubernetesDirectorBench()));
writeFileSync(join(process.env['RAVEL_OUT'] ?? 'build', 'bench-vm.json'), JSON.stringify(rows, null, 2));
