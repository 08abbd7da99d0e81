import { readFileSync } from 'node:fs';
import { round } from './row.ts';

/** Resident memory of a process now and at its highest, MiB: VmRSS and VmHWM of /proc/<pid>/status. */
export function residentMemory(pid: number): { readonly resident: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number => round(Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024, 1);
  return { resident: field('VmRSS'), peak: field('VmHWM') };
}
