/**
 * The Kubernetes API as this agent uses it: plain requests, and streams for watches. What is behind it (a keep-alive
 * connection, a token that is read again, a certificate authority) is in connection.ts; tests put a fake here.
 */

export type ApiMethod = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** A kind of object, where the API serves it. */
export interface ApiResource {
  /** "" for the core group, else `discovery.k8s.io`, … */
  readonly group: string;
  readonly version: string;
  /** Plural, lower case: `endpointslices`. */
  readonly resource: string;
}

export interface ApiRequest {
  readonly method: ApiMethod;
  readonly resource: ApiResource;
  /** Absent: all namespaces, or a resource without. */
  readonly namespace?: string;
  readonly name?: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Default `application/json`; patches say which kind they are. */
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

/** An answer of the server, whatever its status. */
export interface ApiAnswer {
  readonly status: number;
  /** Seconds asked for by `Retry-After`; undefined without. */
  readonly retryAfterSeconds: number | undefined;
  /** The body, parsed; undefined where it is not JSON. */
  readonly body: unknown;
}

export interface ApiStream {
  /** 200, or the answer is in `refused`. */
  readonly refused: ApiAnswer | undefined;
  /** One parsed JSON document each. Ends when the server ends; throws ApiTransportError when the connection breaks. */
  readonly documents: AsyncIterable<unknown>;
}

export interface KubernetesApi {
  /** `https://10.96.0.1:443`, for logs and status. */
  readonly server: string;
  /**
   * Rejects with {@link ApiTransportError} when there is no answer: no connection within 10 s, no answer within 30 s. A
   * request that is `urgent` (a lease) has a connection of its own, waits for no other, and no longer than 10 s. A request may
   * be sent twice, when a kept connection turns out to be closed: writes name their object, so that the second one finds it.
   */
  request(request: ApiRequest & { readonly urgent?: boolean }): Promise<ApiAnswer>;
  /**
   * A watch: open-ended. `idleMilliseconds` without a byte break it. It ends through `signal`, or when its reader leaves; a
   * stream that nobody reads is held until the signal aborts.
   */
  stream(request: ApiRequest & { readonly idleMilliseconds: number }): Promise<ApiStream>;
  close(): void;
}

/**
 * No answer: the connection could not be made, broke, fell silent, or was given up. `code` is the system's or TLS's own, or
 * one of {@link file://./transport-errors.ts}: `ABORT_ERR` for the caller's signal.
 */
export class ApiTransportError extends Error {
  override readonly name = 'ApiTransportError';
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** `list endpointslices.discovery.k8s.io`, as RBAC names it. */
export function verbAndResource(verb: string, { group, resource }: ApiResource): string {
  return `${verb} ${group === '' ? resource : `${resource}.${group}`}`;
}

export const resources = {
  services: { group: '', version: 'v1', resource: 'services' },
  endpointSlices: { group: 'discovery.k8s.io', version: 'v1', resource: 'endpointslices' },
  nodes: { group: '', version: 'v1', resource: 'nodes' },
  configMaps: { group: '', version: 'v1', resource: 'configmaps' },
  leases: { group: 'coordination.k8s.io', version: 'v1', resource: 'leases' },
  events: { group: 'events.k8s.io', version: 'v1', resource: 'events' },
} as const satisfies Record<string, ApiResource>;
