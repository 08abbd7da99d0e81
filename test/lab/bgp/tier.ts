/**
 * Two directors behind a router that spreads connections over them, and nodes that answer clients by the router:
 *
 *     outside 10.30.0.2 ── router 10.20.0.254 ─┬─ segment ─┬─ director  10.20.0.10
 *                                              │           ├─ director2 10.20.0.20
 *                                              └───────────┴─ n1, n2 10.20.0.11, .12, pods behind them
 *
 * and the same in IPv6. The VIPs are of no network: only the router's routes lead to them.
 */
import type { Namespace } from '../namespace.ts';
import { attach, Topology } from '../topology.ts';
import { example } from './documented.ts';
import { createRouter } from './segment.ts';
import type { Router } from './router.ts';

export const OUTSIDE = { 4: '10.30.0.2', 6: '2001:db8:30::2' } as const;

export interface Tier {
  readonly topology: Topology;
  readonly outside: Namespace;
  readonly directors: readonly [Namespace, Namespace];
  readonly routerNamespace: Namespace;
}

export async function createTier(podCommand: (name: string) => readonly string[]): Promise<Tier> {
  const topology = await Topology.create(podCommand);
  const second = example.directors[1];
  const director2 = await topology.addHost('director2', false, `${second[4]}/24`, `${second[6]}/64`);
  const routerNamespace = await topology.addHost('router', true, `${example.router[4]}/24`, `${example.router[6]}/64`);
  const outside = await topology.addMachine('outside', false);
  await attach(routerNamespace, outside, 'outside', [
    { near: '10.30.0.1', far: OUTSIDE[4] },
    { near: '2001:db8:30::1', far: OUTSIDE[6] },
  ]);
  const { director, n1, n2 } = topology.hosts;
  for (const host of [director, director2, n1, n2]) {
    await host.ip(`route add default via ${example.router[4]}`, `route add default via ${example.router[6]}`);
  }
  return { topology, outside, routerNamespace, directors: [director, director2] };
}

export function tierRouter(tier: Tier, kind: Router['kind']): Router {
  return createRouter(kind, tier.routerNamespace);
}
