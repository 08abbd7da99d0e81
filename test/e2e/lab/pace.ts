/** Measures how long changes take from their writing to the kernel: one after another, at odd moments. */
import type { ApiClient } from '../harness/client.ts';
import { serviceName, slice, slicesPath, type Population } from '../harness/populate.ts';

/** What the kernel holds for a service; `look` resolves when it has become that of `onLocal` pods. */
export interface Kernel {
  held(index: number, onLocal: number): Promise<void>;
}

/**
 * Milliseconds from the begin of the request that writes an EndpointSlice to the moment when the kernel holds the
 * change; `samples` of them, each another service, after `warmUp` that are not counted.
 */
export async function changeLatencies(
  api: ApiClient,
  population: Population,
  kernel: Kernel,
  samples: number,
  warmUp: number,
): Promise<number[]> {
  const path = slicesPath(population.namespace);
  const taken: number[] = [];
  for (let sample = 0; sample < warmUp + samples; sample++) {
    // A prime step, so that neighbours in the table are not asked one after another.
    const index = (sample * 37) % population.services;
    // Not in step with any timer of the agent.
    await new Promise((resolve) => setTimeout(resolve, 20 + ((sample * 13) % 70)));
    const body = slice(population, index, 2);
    const held = kernel.held(index, 2);
    const began = performance.now();
    await Promise.all([api.put(`${path}/${serviceName(index)}`, body), within(held, serviceName(index))]);
    if (sample >= warmUp) taken.push(performance.now() - began);
  }
  return taken;
}

const LIMIT_MS = 30_000;

async function within(held: Promise<void>, what: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not reach the kernel within ${LIMIT_MS / 1000} s`)), LIMIT_MS);
  });
  await Promise.race([held, late]).finally(() => clearTimeout(timer));
}
