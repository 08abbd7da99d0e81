/** One of them at a time: the director and the realserver of one machine, as separate processes. */
import { tcpCoordinator, type Presence } from '../drivers/coordinator.ts';
import { NatChoice } from '../drivers/nat-choice.ts';
import { SysctlDriver } from '../drivers/sysctls.ts';
import { errorFields } from '../observe/log.ts';
import { isAborted } from '../model/aborted.ts';
import { Backoff } from '../model/backoff.ts';
import { sleep } from '../reconcile/drift.ts';
import { StandbyPlane } from '../reconcile/standby.ts';
import type { Composition, Listener, ListenerHooks, Parts } from './composition.ts';
import type { AgentOptions } from './options.ts';

export type Compose = (options: AgentOptions, parts: Parts) => Composition;

/** Between two looks for a director. */
const lookMilliseconds = 1000;

/** A director that shows on its ports that it is there. A port that is taken is tried again and again, and told once. */
export function showingPresence(compose: Compose): Compose {
  return (options, parts) => {
    const composition = compose(options, parts);
    const { clock, random, log, coordinator = tcpCoordinator } = parts;
    const presence = (): Exclude<Presence, 'absent'> => {
      const translating = options.colocation !== 'disabled' || composition.translates?.() === true;
      if (options.mode !== 'bgp') return translating ? 'translating' : 'present';
      return translating ? 'routed translating' : 'routed';
    };
    const holder =
      (port: number): Listener =>
      async (signal) => {
        const backoff = new Backoff({ random, first: lookMilliseconds });
        let told = '';
        while (!signal.aborted) {
          try {
            await coordinator.hold(port, presence, signal);
          } catch (error) {
            const fields = errorFields(error);
            const level = told === fields['error'] ? 'debug' : 'warn';
            told = String(fields['error']);
            log[level](`port ${port} of 127.0.0.1 cannot be had: a realserver on this machine would not see this director`, fields);
          }
          if (!isAborted(signal)) await sleep(clock, backoff.fail(), signal);
        }
      };
    return {
      ...composition,
      listeners: (hooks) => [...composition.listeners(hooks), ...options.coordinatorPorts.map(holder)],
    };
  };
}

/** A realserver that works only while there is no director on the first of the ports. */
export function standingBy(compose: Compose): Compose {
  return (options, parts) => {
    const composition = compose(options, parts);
    const [port] = options.coordinatorPorts;
    if (port === undefined) return composition;
    const { kernel, journal, clock, log, coordinator = tcpCoordinator } = parts;
    const plane = new StandbyPlane({
      ...{ plane: composition.plane, patience: options.failoverProbes, place: `127.0.0.1:${port}` },
      look: () => coordinator.look(port),
      // Instances of their own: they remember nothing, and the realserver's know nothing of them.
      nat: new NatChoice(kernel, { asked: options.natBackend, chainPrefix: options.iptablesChain }),
      sysctls: new SysctlDriver(kernel.sysctls, journal),
    });
    const watch =
      ({ renew }: ListenerHooks): Listener =>
      async (signal) => {
        while (!signal.aborted) {
          if (await plane.look()) {
            log.info(plane.idle ? 'a director is on this machine: standing by' : 'no director on this machine: working', { port });
            renew();
          }
          if (!isAborted(signal)) await sleep(clock, lookMilliseconds, signal);
        }
      };
    return {
      ...composition,
      plane,
      listeners: (hooks) => [...composition.listeners(hooks), watch(hooks)],
      serves: (keys) => !plane.idle && composition.serves(keys),
      idle: () => plane.idle,
    };
  };
}
