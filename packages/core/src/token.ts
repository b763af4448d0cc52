import { outOfRange, wrongType } from "./arguments.ts";
import type { Revision } from "./ports/kv.ts";

/** How often a lock's key may be passed on within its process: the lowest nine bits of a token. */
export const maxHandovers = 511;

/**
 * The fencing token of who holds a key: the revision that created the key, times 512, plus how often the key was
 * passed on within its process since. A later key has a larger revision, and later holders of one key a larger count, so
 * tokens grow with every grant of a name, whoever gets it. They fit a signed 64-bit column while revisions stay below
 * 2^54: at a million writes a second for 570 years, or in microseconds since 1970 until the year 2540. Throws `TypeError`
 * or `RangeError` for what is no revision, and no such count.
 */
export function tokenOf(created: Revision, handovers = 0): bigint {
  if (typeof created !== "bigint") throw wrongType("created of tokenOf", created, "a revision, which is a bigint");
  if (!Number.isInteger(handovers) || handovers < 0 || handovers > maxHandovers)
    throw outOfRange("handovers of tokenOf", handovers, `a whole number from 0 to ${maxHandovers}`);
  return created * BigInt(maxHandovers + 1) + BigInt(handovers);
}
