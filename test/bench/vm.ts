/** The benches that need IPVS, in one process inside the machine that has it. Writes $RAVEL_OUT/bench-vm.json. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runIpvsBench } from './ipvs.ts';
import { runMemoryBench } from './memory.ts';
import type { BenchRow } from './row.ts';

const rows: BenchRow[] = await runIpvsBench();
execFileSync('ip', ['link', 'add', 'bench0', 'type', 'veth', 'peer', 'name', 'bench1']);
execFileSync('ip', ['link', 'set', 'bench0', 'up']);
execFileSync('ip', ['link', 'set', 'bench1', 'up']);
execFileSync('ip', ['address', 'add', '10.20.0.1/24', 'dev', 'bench0']);
rows.push(...(await runMemoryBench(join(process.cwd(), 'dist/ravel-agent.js'), 'bench0')));
writeFileSync(join(process.env['RAVEL_OUT'] ?? 'build', 'bench-vm.json'), JSON.stringify(rows, null, 2));
