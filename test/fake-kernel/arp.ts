/** A segment that remembers what was announced on it. */
import { EventIterator } from '../../src/native/event-iterator.ts';
import type { ArpPacket, ArpPort } from '../../src/native/link-types.ts';
import type { Faults } from './faults.ts';

export interface Announcement {
  readonly interface: string;
  readonly addresses: readonly string[];
  readonly form: 'request' | 'reply' | 'both';
}

export class FakeArp implements ArpPort {
  readonly sent: Announcement[] = [];
  readonly #watchers = new Map<(packet: ArpPacket | { type: 'overrun' }) => void, string>();
  readonly #faults: Faults;

  constructor(faults: Faults) {
    this.#faults = faults;
  }

  async announce(interfaceName: string, addresses: readonly string[], form: Announcement['form']): Promise<number> {
    await Promise.resolve();
    this.#faults.throwNext('arp.announce', interfaceName);
    this.sent.push({ interface: interfaceName, addresses: [...addresses], form });
    return addresses.length * (form === 'both' ? 2 : 1);
  }

  watch(interfaceName: string, options: { signal?: AbortSignal } = {}): EventIterator<ArpPacket | { type: 'overrun' }> {
    return new EventIterator<ArpPacket | { type: 'overrun' }>((deliver) => {
      const failure = this.#faults.next('arp.watch', interfaceName);
      if (failure !== undefined) return Promise.reject(failure);
      this.#watchers.set(deliver, interfaceName);
      return Promise.resolve(() => this.#watchers.delete(deliver));
    }, options);
  }

  /** A packet arrives. */
  receive(interfaceName: string, packet: ArpPacket | { type: 'overrun' }): void {
    for (const [deliver, name] of this.#watchers) if (name === interfaceName) deliver(packet);
  }
}
