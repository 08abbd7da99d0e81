/** A segment that remembers which IPv6 addresses were advertised on it. */
import { EventIterator } from '../../src/native/event-iterator.ts';
import type { NdpPacket, NdpPort } from '../../src/native/link-types.ts';
import type { Faults } from './faults.ts';

export interface Advertisement {
  readonly interface: string;
  readonly addresses: readonly string[];
}

export class FakeNdp implements NdpPort {
  readonly sent: Advertisement[] = [];
  readonly #watchers = new Map<(packet: NdpPacket | { type: 'overrun' }) => void, string>();
  readonly #faults: Faults;

  constructor(faults: Faults) {
    this.#faults = faults;
  }

  async announce(interfaceName: string, addresses: readonly string[]): Promise<number> {
    await Promise.resolve();
    this.#faults.throwNext('ndp.announce', interfaceName);
    const wrong = addresses.find((address) => !address.includes(':'));
    if (wrong !== undefined) throw new RangeError(`not an IPv6 address: ${wrong}`);
    this.sent.push({ interface: interfaceName, addresses: [...addresses] });
    return addresses.length;
  }

  watch(interfaceName: string, options: { signal?: AbortSignal } = {}): EventIterator<NdpPacket | { type: 'overrun' }> {
    return new EventIterator<NdpPacket | { type: 'overrun' }>((deliver) => {
      const failure = this.#faults.next('ndp.watch', interfaceName);
      if (failure !== undefined) return Promise.reject(failure);
      this.#watchers.set(deliver, interfaceName);
      return Promise.resolve(() => this.#watchers.delete(deliver));
    }, options);
  }

  /** A packet arrives. */
  receive(interfaceName: string, packet: NdpPacket | { type: 'overrun' }): void {
    for (const [deliver, name] of this.#watchers) if (name === interfaceName) deliver(packet);
  }
}
