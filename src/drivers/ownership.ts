/**
 * What a restarted agent, which remembers nothing, goes by (docs/ownership.md). The rules that need the kernel's
 * own words are with the comparisons: src/diff/{ipvs,addresses,nat}.ts.
 */

/** IFA_PROTO of our addresses: a number nobody else uses (linux/if_addr.h knows 1..3). */
export const addressProtocol = 82;

/** A dummy of the configured name is ours, with every address on it. */
export const defaultVipInterface = 'ravel0';
