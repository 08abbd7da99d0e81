/**
 * A realserver that stands by while a director is on its machine: the two would undo each other's work, since the one must answer ARP
 * for the very addresses for which the other must be silent. VIP addresses stay, both want them.
 */
import type { NatBackend } from '../drivers/nat-backend.ts';
import { failureOf, merge, type DriverOutcome } from '../drivers/outcome.ts';
import { ofDirectors, ofSilence, type SysctlDriver } from '../drivers/sysctls.ts';
import type { Presence } from '../drivers/coordinator.ts';
import type { Address, ClusterState, Reason, VirtualServiceKey } from '../model/cluster.ts';
import { UnsupportedError } from '../native/errors.ts';
import { describeNat, describeSysctl } from './describe.ts';
import type { Work } from './gate.ts';
import type { PassOutcome, Plane, PlaneStatus, Preview, VipStatus } from './plane.ts';
import { nextPresence, unknownPresence, type PresenceState } from './presence.ts';

export interface StandbyOptions {
  /** What is done while nobody else is there. */
  readonly plane: Plane;
  readonly look: () => Promise<Presence>;
  /** Looks in a row after which a director counts as gone. */
  readonly patience: number;
  /** All rules of a realserver, whichever backend has them. */
  readonly nat: Pick<NatBackend, 'kind' | 'forget' | 'removal' | 'apply'>;
  readonly sysctls: SysctlDriver;
  /** Where the director was found, for people. */
  readonly place: string;
}

const none: PassOutcome = { written: 0, failures: [], held: undefined, full: false, due: new Map() };

export class StandbyPlane implements Plane {
  readonly #options: StandbyOptions;
  readonly #reason: Reason;
  #presence: PresenceState = unknownPresence;
  /** The director that was found last leads to the pods here itself: what rules there are may be its own. */
  #translating = false;
  /** It keeps silent on the segment, so that the settings for that are its own as well. */
  #routed = false;
  /** All that was to go is gone. What comes after that is the director's. */
  #stoodDown = false;
  #state: ClusterState | undefined;

  constructor(options: StandbyOptions) {
    this.#options = options;
    const message = `a director is on this machine (${options.place}); this realserver stands by`;
    this.#reason = { code: 'DirectorPresent', message };
  }

  /** Rules and settings are left to the director. */
  get idle(): boolean {
    return this.#presence.present === true;
  }

  /** Looks once more. True when it is to be begun, or ended, to work. */
  async look(): Promise<boolean> {
    const found = await this.#options.look();
    const before = this.#presence;
    this.#presence = nextPresence(before, found !== 'absent', this.#options.patience);
    if (found !== 'absent') {
      this.#translating = found.endsWith('translating');
      this.#routed = found.startsWith('routed');
    }
    if (!this.idle) this.#stoodDown = false;
    return before.present !== this.#presence.present;
  }

  async #decided(): Promise<boolean> {
    if (this.#presence.present === undefined) await this.look();
    return this.idle;
  }

  async pass(work: Work): Promise<PassOutcome> {
    this.#state = work.state;
    if (!(await this.#decided())) return this.#options.plane.pass(work);
    // What the realserver remembers is of the time before.
    this.#options.plane.forget();
    if (this.#stoodDown) return { ...none, full: true };
    const { rules, settings } = await this.#standDown();
    const outcome = merge([await rules.apply(), await settings.apply()]);
    this.#stoodDown = outcome.failures.length === 0;
    return { ...none, ...outcome, full: true };
  }

  async preview(state: ClusterState): Promise<Preview> {
    if (!(await this.#decided())) return this.#options.plane.preview(state);
    const { rules, settings } = await this.#standDown();
    return { changes: [...rules.changes, ...settings.changes], held: undefined };
  }

  /** What is to go, in this order: without its rules a realserver may answer for nothing. */
  async #standDown(): Promise<{ rules: Step; settings: Step }> {
    const { sysctls } = this.#options;
    const { operations, failures } = await sysctls.plan([], (key) => !ofDirectors(key) && !(this.#routed && ofSilence(key)));
    return {
      rules: this.#translating ? nothing : await this.#rules(),
      settings: {
        changes: operations.map(describeSysctl),
        apply: async () => merge([await sysctls.apply(operations), { written: 0, failures }]),
      },
    };
  }

  async #rules(): Promise<Step> {
    const { nat } = this.#options;
    nat.forget();
    try {
      const plan = await nat.removal();
      return { changes: describeNat(nat.kind, plan), apply: () => nat.apply(plan) };
    } catch (error) {
      // Where there are no rules none are left.
      if (error instanceof UnsupportedError) return nothing;
      const outcome = { written: 0, failures: [failureOf(error, 'nat.removal', 'rules of a realserver')] };
      return { changes: [], apply: () => Promise.resolve(outcome) };
    }
  }

  forget(): void {
    this.#options.plane.forget();
  }

  status(): PlaneStatus {
    if (!this.idle) return this.#options.plane.status();
    const vips = (this.#state?.addresses ?? []).map((address) => this.vip(address));
    return { reasons: new Map(), vips, foreign: [], warnings: this.#options.sysctls.warnings, standby: this.#reason };
  }

  reason(key: VirtualServiceKey): Reason | undefined {
    return this.idle ? undefined : this.#options.plane.reason(key);
  }

  vip(address: Address): VipStatus {
    return this.idle ? { address, announced: undefined, reason: this.#reason, conflicts: 0 } : this.#options.plane.vip(address);
  }
}

interface Step {
  readonly changes: Preview['changes'];
  readonly apply: () => Promise<DriverOutcome>;
}

const nothing: Step = { changes: [], apply: () => Promise.resolve({ written: 0, failures: [] }) };
