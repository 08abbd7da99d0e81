/** The Lease in which a realserver says what it has programmed: what writer and reader agree on. */

/** The name is this and the node's. */
export const leaseNamePrefix = 'ravel-realserver-';
/** A decimal number: all EndpointSlices up to this resourceVersion are programmed. */
export const programmedRevisionAnnotation = 'ravel.io/programmed-revision';
export const componentLabel = 'app.kubernetes.io/component';
export const realserverComponent = 'realserver';
/** The label that readers select by. */
export const realserverSelector = `${componentLabel}=${realserverComponent}`;
