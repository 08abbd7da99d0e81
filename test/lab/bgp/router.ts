/** A router: another implementation of BGP with BFD, which puts what it learns into the kernel as multipath routes. */
import type { Namespace } from '../namespace.ts';
import { run } from '../namespace.ts';
import { waitFor } from '../wait.ts';

export interface RouterSession {
  readonly established: boolean;
  /** Differs whenever the session has come up anew. */
  readonly since: string;
  /** UPDATE messages from the neighbour; undefined where the router does not count them. */
  readonly updates: number | undefined;
  /** Routes that the neighbour told and took back, both families; undefined where the router does not count them. */
  readonly told: number | undefined;
  readonly takenBack: number | undefined;
  /** Why it is down, or was, in the router's words. */
  readonly lastError: string;
}

export interface Router {
  readonly kind: 'bird' | 'frr';
  readonly namespace: Namespace;
  /** Resolves when its daemons run; their sessions take longer. */
  start(configuration: string): Promise<void>;
  session(neighbour: string): Promise<RouterSession>;
  /** Routes in its table of the family, all neighbours' together, the kernel's part not asked. */
  count(family: 4 | 6): Promise<number>;
  bfdUp(neighbour: string): Promise<boolean>;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Forwards, spreads by addresses and ports, keeps ARP and neighbour entries no longer than needed. */
export async function prepareRouter(namespace: Namespace): Promise<void> {
  const lines = [
    'echo 1 >ipv4/ip_forward',
    'echo 1 >ipv6/conf/all/forwarding',
    'echo 1 >ipv4/fib_multipath_hash_policy',
    'echo 1 >ipv6/fib_multipath_hash_policy',
  ];
  await namespace.run(['sh', '-c', `cd /proc/sys/net && ${lines.join(' && ')}`]);
}

export function sessionUp(router: Router, neighbour: string, deadlineMs = 60_000): Promise<RouterSession> {
  return waitFor(
    `${router.kind} to have a session with ${neighbour}`,
    async () => {
      const session = await router.session(neighbour);
      if (session.established) return session;
      throw new Error(JSON.stringify(session));
    },
    deadlineMs,
  );
}

interface KernelRoute {
  readonly dst: string;
  readonly gateway?: string;
  readonly nexthops?: readonly { readonly gateway: string }[];
}

/** Routes by BGP in the kernel of a namespace: prefix → next hops in order. */
export async function kernelRoutes(namespace: Namespace, family: 4 | 6): Promise<Map<string, string[]>> {
  const { stdout } = await run(['ip', '-n', namespace.name, `-${family}`, '-j', '-d', 'route', 'show', 'table', 'main']);
  const routes = JSON.parse(stdout === '' ? '[]' : stdout) as (KernelRoute & { readonly protocol: string })[];
  const found = new Map<string, string[]>();
  for (const { dst, gateway, nexthops, protocol } of routes) {
    if (protocol !== 'bird' && protocol !== 'bgp') continue;
    const prefix = dst.includes('/') ? dst : `${dst}/${family === 4 ? 32 : 128}`;
    const hops = nexthops?.map((hop) => hop.gateway) ?? (gateway === undefined ? [] : [gateway]);
    found.set(prefix, [...(found.get(prefix) ?? []), ...hops].sort());
  }
  return found;
}
