/** The configuration, as it stands under one key of one ConfigMap. */
import { readCluster, type ReadOptions } from '../../model/cluster-file.ts';
import type { Clock } from '../../model/clock.ts';
import type { ClusterState, Problem } from '../../model/cluster.ts';
import { runSliced } from '../../model/slices.ts';
import { mapAt, textAt, type Json } from '../../kubernetes/json.ts';
import type { Sink } from './known-objects.ts';

/** What is under the key; undefined without the key. */
export interface ConfigText {
  readonly text: string | undefined;
  /** The key is there, but holds bytes. */
  readonly binary: boolean;
}

/** Longer than anything an API server takes (1 MiB for a ConfigMap, etcd's request limit 1.5 MiB). */
const longestText = 4 * 1024 * 1024;
/** Longest run between two pauses, milliseconds. */
const sliceBudget = 8;

export function reduceConfigMap(object: Json, key: string): ConfigText {
  return { text: textAt(mapAt(object, 'data'), key), binary: textAt(mapAt(object, 'binaryData'), key) !== undefined };
}

/** The part of a state that is configuration. */
export type Configuration = Pick<ClusterState, 'virtualServices' | 'virtualServicesOf' | 'addresses' | 'nodeLabels' | 'mtu' | 'bgp'>;

export interface ConfigMapOptions {
  readonly config: { readonly namespace: string; readonly name: string; readonly key: string };
  readonly defaultListener: ReadOptions['defaultListener'];
  readonly defaultScheduler?: ReadOptions['defaultScheduler'];
  readonly clock: Clock;
  readonly pause: () => Promise<unknown>;
  readonly signal: AbortSignal;
  /** `afterRefusal`: worth a word even where nothing differs. */
  readonly onAccepted: (configuration: Configuration, warnings: readonly Problem[], afterRefusal: boolean) => void;
  /** Told once for each input that is refused; the last good one stays in force. */
  readonly onRefused: (problems: readonly Problem[]) => void;
  /** A failure of this program, not of the input. */
  readonly onFailure: (error: unknown) => void;
}

/**
 * Reads every version that comes, the newest at last, one at a time. Refused whole when anything in it is wrong; deleting the
 * ConfigMap or the key is no configuration, so it is refused as well.
 */
export class ConfigMapReader implements Sink<ConfigText> {
  readonly #options: ConfigMapOptions;
  readonly #name: string;
  #there = false;
  #next: string | undefined;
  #reading = false;
  #refused = '';

  constructor(options: ConfigMapOptions) {
    this.#options = options;
    this.#name = `ConfigMap ${options.config.namespace}/${options.config.name}`;
  }

  /** The newest input was refused. */
  get refused(): boolean {
    return this.#refused !== '';
  }

  put(key: string, { text, binary }: ConfigText): void {
    if (!this.#isOurs(key)) return;
    this.#there = true;
    const path = `data.${JSON.stringify(this.#options.config.key)}`;
    if (text === undefined) this.#refuse(path, `${this.#name} has no such key${binary ? ': it is in binaryData' : ''}`);
    else if (text.length > longestText) this.#refuse(path, `is longer than ${longestText} characters`);
    else {
      this.#next = text;
      if (!this.#reading) this.#read().catch(this.#options.onFailure);
    }
  }

  remove(key: string): void {
    if (!this.#isOurs(key)) return;
    this.#there = false;
    this.#refuse('', `${this.#name} was deleted`);
  }

  listed(): void {
    if (!this.#there && this.#refused === '') this.#refuse('', `${this.#name} does not exist`);
  }

  reached(): void {
    // Versions of the ConfigMap mean nothing to anybody else.
  }

  /** A server that takes no heed of the field selector shows others as well. */
  #isOurs(key: string): boolean {
    const { namespace, name } = this.#options.config;
    return key === `${namespace}/${name}`;
  }

  #refuse(path: string, message: string): void {
    this.#next = undefined;
    this.#tell([{ path, message }]);
  }

  #tell(problems: readonly Problem[]): void {
    const words = JSON.stringify(problems);
    if (words === this.#refused || this.#options.signal.aborted) return;
    this.#refused = words;
    this.#options.onRefused(problems);
  }

  async #read(): Promise<void> {
    const { clock, pause, signal, defaultListener, defaultScheduler, onAccepted } = this.#options;
    this.#reading = true;
    try {
      for (let text = this.#next; text !== undefined && !signal.aborted; text = this.#next) {
        const steps = readCluster(text, { carrier: 'config', defaultListener, defaultScheduler });
        const result = await runSliced(steps, { budget: sliceBudget, now: () => clock.now(), pause });
        // A newer one came meanwhile: this one is of no interest any more.
        if (this.#next !== text) continue;
        this.#next = undefined;
        if (result.state === undefined) {
          this.#tell(result.errors);
          continue;
        }
        const afterRefusal = this.#refused !== '';
        this.#refused = '';
        onAccepted(result.state, [...result.coercions, ...result.warnings], afterRefusal);
      }
    } finally {
      this.#reading = false;
    }
  }
}
