/** A router and two machines beside it on one segment, as docs/bgp.md draws them: for tests that need no traffic. */
import { Namespace } from '../namespace.ts';
import { Bird } from './bird.ts';
import { example } from './documented.ts';
import { Frr } from './frr.ts';
import type { Router } from './router.ts';

export class BgpSegment {
  readonly router: Namespace;
  readonly directors: readonly [Namespace, Namespace];
  readonly #segment: Namespace;

  private constructor(segment: Namespace, router: Namespace, directors: readonly [Namespace, Namespace]) {
    this.#segment = segment;
    this.router = router;
    this.directors = directors;
  }

  static async create(): Promise<BgpSegment> {
    const segment = await Namespace.create('segment');
    await segment.ip('link add name bridge type bridge', 'link set bridge up');
    const host = async (name: string, addresses: { readonly 4: string; readonly 6: string }): Promise<Namespace> => {
      const namespace = await Namespace.create(name);
      await segment.ip(
        `link add name ${name} type veth peer name eth0 netns ${name}`,
        `link set ${name} master bridge`,
        `link set ${name} up`,
      );
      await namespace.ip(`addr add ${addresses[4]}/24 dev eth0`, `addr add ${addresses[6]}/64 dev eth0 nodad`, 'link set eth0 up');
      return namespace;
    };
    const router = await host('router', example.router);
    const [first, second] = example.directors;
    return new BgpSegment(segment, router, [await host('director', first), await host('director2', second)]);
  }

  /** Takes a machine off the segment, as pulling its cable does, or puts it back. */
  async plug(name: string, state: 'up' | 'down'): Promise<void> {
    await this.#segment.ip(`link set ${name} ${state}`);
  }

  async close(): Promise<void> {
    for (const namespace of [this.router, ...this.directors, this.#segment]) await namespace.remove();
  }
}

export function createRouter(kind: Router['kind'], namespace: Namespace): Router {
  return kind === 'bird' ? new Bird(namespace) : new Frr(namespace);
}
