/** What the kernel holds of one virtual service, for whoever decides what becomes of it. */
import { backendOf, podBackend, type Backend } from '../desired/backend.ts';
import { nothingObserved, type Moment, type ObservedDestination } from '../desired/drain.ts';
import type { DesiredIpvsService } from '../desired/types.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import { destinationIdAt, destinationNumberAt, serviceKeyAt } from '../native/ipvs-columns.ts';
import { FORWARDING_NUMBER } from '../native/ipvs-constants.ts';
import type { IpvsSnapshot } from '../native/ipvs-types.ts';
import { foreignTraits } from './ipvs-compare.ts';

/** One virtual service as the kernel has it. */
export type Sight = Pick<Moment, 'observed' | 'foreign'>;

const nothing: Sight = { observed: nothingObserved };

/** A snapshot, to be asked service by service. */
export class ObservedServices {
  readonly #snapshot: IpvsSnapshot;
  readonly #rows = new Map<VirtualServiceKey, number>();
  /** Texts of IPv4 nodes met so far: a few nodes are in many services, and text is dear. */
  readonly #nodes = new Map<number, Backend>();

  constructor(snapshot: IpvsSnapshot) {
    this.#snapshot = snapshot;
    for (let row = 0; row < snapshot.services.count; row++) this.#rows.set(serviceKeyAt(snapshot, row), row);
  }

  /**
   * Destinations that an agent may have written, with their connections: nodes on the port of the service, and pods on
   * whatever port; and whether anything about the service says that somebody else did (docs/ownership.md).
   */
  sight(key: VirtualServiceKey): Sight {
    const row = this.#rows.get(key);
    if (row === undefined) return nothing;
    const { services, destinations: columns } = this.#snapshot;
    const first = services.firstDestination[row] ?? 0;
    const end = services.firstDestination[row + 1] ?? 0;
    const found = new Map<Backend, ObservedDestination>();
    for (let at = first; at < end; at++) {
      const backend = this.#backendAt(at, services.port[row]);
      if (backend === undefined) continue;
      found.set(backend, {
        weight: columns.weight[at] ?? 0,
        connections: (columns.activeConnections[at] ?? 0) + (columns.inactiveConnections[at] ?? 0),
      });
    }
    return { observed: found, foreign: foreignTraits(this.#snapshot, row, first, end) !== undefined };
  }

  #backendAt(row: number, servicePort: number | undefined): Backend | undefined {
    const { forward, port } = this.#snapshot.destinations;
    if (forward[row] === FORWARDING_NUMBER.masquerade) {
      const id = destinationIdAt(this.#snapshot, row);
      return podBackend(id.address, id.port);
    }
    if (forward[row] !== FORWARDING_NUMBER.direct && forward[row] !== FORWARDING_NUMBER.tunnel) return undefined;
    if (port[row] !== servicePort) return undefined;
    const number = destinationNumberAt(this.#snapshot, row);
    const known = this.#nodes.get(number);
    if (known !== undefined) return known;
    const { address } = destinationIdAt(this.#snapshot, row);
    if (number >= 0) this.#nodes.set(number, address);
    return address;
  }
}

/** The same of what was last written; nobody counted the connections. */
export function asWritten(service: DesiredIpvsService | undefined): Sight {
  if (service === undefined) return nothing;
  return {
    observed: new Map(service.destinations.map((one) => [backendOf(one), { weight: one.spec.weight, connections: undefined }])),
  };
}
