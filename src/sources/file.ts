/**
 * A cluster described in one file, YAML or JSON, followed while it changes. What is watched is the folder, because
 * a file that is replaced by renaming (as editors, `kubectl` and mounted ConfigMaps do) is another file each
 * time; and because events can be lost, the file's own data are looked at every few seconds as well.
 */
import { watch, type FSWatcher } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { readCluster, type ReadOptions } from '../model/cluster-file.ts';
import type { Clock, Timer } from '../model/clock.ts';
import type { ClusterState, Problem, Source } from '../model/cluster.ts';
import { publish } from '../model/publish.ts';
import { runSliced } from '../model/slices.ts';
import { ChangedError, readWhole, signatureOf, systemMessage, UnreadableError } from './read-whole.ts';

export interface FileSourceOptions {
  readonly file: string;
  readonly clock: Clock;
  /** Quiet time after an event before the file is read, so that a writer can finish. Default 50 ms. */
  readonly debounceMilliseconds?: number;
  /** How often the file is looked at without an event. Default 5 s. */
  readonly pollMilliseconds?: number;
  /** A longer file is refused unread. Default 64 MiB. */
  readonly limitBytes?: number;
  /** The service that VIPs of the pool get by default. */
  readonly defaultListener?: ReadOptions['defaultListener'];
  /** Of virtual services that name none. */
  readonly defaultScheduler?: ReadOptions['defaultScheduler'];
  /** Lets other work have its turn. Default: one turn of the event loop. */
  readonly pause?: () => Promise<unknown>;
}

type Defaults = Pick<FileSourceOptions, 'defaultListener' | 'defaultScheduler'>;

type Run = Parameters<Source['run']>[0];

/** Longest run between two pauses, in milliseconds. */
const sliceBudget = 8;

/** One run of the source: everything that ends when its signal aborts. */
class Follower {
  readonly #options: Required<Omit<FileSourceOptions, keyof Defaults>> & Defaults;
  readonly #run: Run;
  readonly #folder: string;
  #watcher: FSWatcher | undefined;
  /** Inode of the folder that is watched: a folder can be replaced, too. */
  #watched = '';
  #watchProblem: Problem | undefined;
  #timer: Timer | undefined;
  /** When the first of the events came that the timer stands for. */
  #busySince: number | undefined;
  #poll: Timer | undefined;
  #loading = false;
  #again = false;
  #signature = '';
  /** What was refused last, in words: the same refusal is told once. */
  #refused = '';
  #state: ClusterState | undefined;
  #finish: () => void = () => undefined;
  #fail: (reason: unknown) => void = () => undefined;

  constructor(options: FileSourceOptions, run: Run) {
    this.#options = {
      debounceMilliseconds: 50,
      pollMilliseconds: 5000,
      limitBytes: 64 * 1024 * 1024,
      pause: () => turn(),
      ...options,
    };
    this.#run = run;
    this.#folder = path.dirname(path.resolve(options.file));
  }

  async follow(): Promise<void> {
    const { signal } = this.#run;
    if (signal.aborted) return;
    const ended = new Promise<void>((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
    const stop = (): void => {
      if (!this.#loading) this.#finish();
    };
    signal.addEventListener('abort', stop, { once: true });
    try {
      this.#look();
      await ended;
    } finally {
      signal.removeEventListener('abort', stop);
      this.#timer?.cancel();
      this.#poll?.cancel();
      this.#watcher?.close();
    }
  }

  /** Looks now, and again after the poll interval whatever happens. */
  #look(): void {
    this.#poll?.cancel();
    this.#poll = this.#options.clock.after(this.#options.pollMilliseconds, () => this.#look());
    this.#start();
  }

  /** Reads soon: after a quiet time, but not later than ten of them, however busy the folder is. */
  #changed(): void {
    const { clock, debounceMilliseconds } = this.#options;
    const now = clock.now();
    this.#busySince ??= now;
    this.#timer?.cancel();
    this.#timer = clock.after(Math.min(debounceMilliseconds, this.#busySince + 10 * debounceMilliseconds - now), () => {
      this.#busySince = undefined;
      this.#start();
    });
  }

  /** Never two at a time: an event during a load asks for one more. */
  #start(): void {
    if (this.#loading) {
      this.#again = true;
      return;
    }
    this.#loading = true;
    this.#again = false;
    this.#load().then(
      () => {
        this.#loading = false;
        if (this.#run.signal.aborted) this.#finish();
        else if (this.#again) this.#changed();
      },
      (error: unknown) => {
        this.#loading = false;
        if (this.#run.signal.aborted) this.#finish();
        else this.#fail(error);
      },
    );
  }

  async #load(): Promise<void> {
    await this.#watch();
    const { file, limitBytes } = this.#options;
    try {
      // Most looks end here: nothing happened to the file.
      const stats = await stat(file, { bigint: true });
      if (signatureOf(stats) === this.#signature) return;
      const { bytes, signature } = await readWhole(file, limitBytes);
      this.#signature = signature;
      await this.#accept(bytes);
    } catch (error) {
      if (error instanceof ChangedError) this.#again = true;
      else if (error instanceof UnreadableError) this.#refuse([{ path: '', message: error.message }]);
      else if ((error as NodeJS.ErrnoException).syscall !== undefined) this.#refuse([{ path: '', message: systemMessage(file, error) }]);
      else throw error;
      // Whatever is there the next time has not been read yet.
      this.#signature = '';
    }
  }

  async #accept(bytes: Buffer): Promise<void> {
    const { clock, pause, defaultListener, defaultScheduler } = this.#options;
    const steps = readCluster(bytes, { carrier: 'cluster', defaultListener, defaultScheduler });
    const result = await runSliced(steps, { budget: sliceBudget, now: () => clock.now(), pause, signal: this.#run.signal });
    if (result.state === undefined) {
      this.#refuse(result.errors);
      return;
    }
    const watchProblem = this.#watchProblem === undefined ? [] : [this.#watchProblem];
    const publication = publish(this.#state, result.state, [...watchProblem, ...result.coercions, ...result.warnings]);
    // The same content again is worth a word only where it ends a refusal.
    const same = publication.state === this.#state && this.#refused === '';
    this.#refused = '';
    this.#state = publication.state;
    if (!same) this.#run.onPublication(publication);
  }

  #refuse(problems: readonly Problem[]): void {
    const words = JSON.stringify(problems);
    if (words === this.#refused || this.#run.signal.aborted) return;
    this.#refused = words;
    this.#run.onRefused(problems);
  }

  /** Watches the folder, anew where it was replaced. Without a watch, polling has to do. */
  async #watch(): Promise<void> {
    let folder: string;
    try {
      const stats = await stat(this.#folder, { bigint: true });
      folder = `${stats.dev} ${stats.ino}`;
    } catch {
      // Reading the file comes next and tells what is wrong.
      folder = '';
    }
    if (this.#run.signal.aborted || (folder === this.#watched && this.#watcher !== undefined)) return;
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = folder;
    this.#watchProblem = undefined;
    if (folder === '') return;
    try {
      this.#watcher = watch(this.#folder, () => this.#changed());
      this.#watcher.on('error', (error) => this.#lostWatch(error));
    } catch (error) {
      this.#lostWatch(error);
    }
  }

  #lostWatch(error: unknown): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    const seconds = this.#options.pollMilliseconds / 1000;
    this.#watchProblem = { path: '', message: `${systemMessage(this.#folder, error)}; changes are seen after up to ${seconds} s` };
  }
}

export class FileSource implements Source {
  readonly #options: FileSourceOptions;

  constructor(options: FileSourceOptions) {
    this.#options = options;
  }

  run(options: Run): Promise<void> {
    return new Follower(this.#options, options).follow();
  }
}
