import type { Revision } from "./ports/kv.ts";

/** How often a lock's key may be passed on within its process: the lowest nine bits of a token. */
export const maxHandovers = 511;

/**
 * The fencing token of who holds a key: the revision that created the key, times 512, plus how often the key was
 * passed on within its process since. A later key has a larger revision, and later holders of one key a larger count, so
 * tokens grow with every grant of a name, whoever gets it. They fit a signed 64-bit column while revisions stay below
 * 2^54: at a million writes a second for 570 years, or in microseconds since 1970 until the year 2540.
 */
export function tokenOf(created: Revision, handovers = 0): bigint {
  return created * BigInt(maxHandovers + 1) + BigInt(handovers);
}
