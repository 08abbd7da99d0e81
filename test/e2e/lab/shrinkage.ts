/** Looks at the director's kernel again and again while something happens that must not show there. */
import type { Scene } from './scene.ts';

export interface Vip {
  readonly address: string;
  readonly port: number;
}

export class ShrinkageWatch {
  /** Every look at which a virtual service had less weight than before, in words. */
  readonly shrunk: string[] = [];
  looks = 0;
  readonly #last = new Map<string, Readonly<Record<string, number>>>();
  readonly #ended: Promise<void>;
  #stopped = false;

  constructor(scene: Scene, vips: readonly Vip[], everyMs = 100) {
    this.#ended = this.#run(scene, vips, everyMs);
  }

  async #run(scene: Scene, vips: readonly Vip[], everyMs: number): Promise<void> {
    while (!this.#stopped) {
      for (const { address, port } of vips) {
        const now = await scene.weights(address, port);
        const key = `${address}:${port}`;
        for (const [node, weight] of Object.entries(this.#last.get(key) ?? {})) {
          if ((now[node] ?? 0) < weight) this.shrunk.push(`${key} ${node}: ${weight} → ${now[node] ?? 'gone'}`);
        }
        this.#last.set(key, now);
      }
      this.looks += 1;
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  async stop(): Promise<readonly string[]> {
    this.#stopped = true;
    await this.#ended;
    return this.shrunk;
  }
}
