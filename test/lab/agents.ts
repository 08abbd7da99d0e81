/** Agents of a scene that are started, settled and ended together. */
import { LabAgent, type LabMode } from './agent.ts';
import type { Namespace } from './namespace.ts';

export interface AgentPlace {
  readonly namespace: Namespace;
  readonly mode: LabMode;
  readonly extra?: readonly string[];
}

/** Starts all at once, as a cluster does; resolves when each has nothing left to do. */
export async function startAgents(sourceFile: string, places: readonly AgentPlace[]): Promise<LabAgent[]> {
  const agents = places.map(({ namespace, mode, extra = [] }) => new LabAgent(namespace, mode, sourceFile, extra));
  for (const agent of agents) agent.start();
  try {
    for (const agent of agents) await agent.settled();
  } catch (error) {
    await endAgents(agents);
    throw error;
  }
  return agents;
}

export async function endAgents(agents: readonly LabAgent[]): Promise<void> {
  await Promise.all(agents.map((agent) => agent.end()));
}
