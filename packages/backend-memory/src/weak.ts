import type { Change, WatchBatch } from "@conclave/core/backend";
import type { Changes, Mode } from "./mode.ts";

const ttlStepMs = 50;
const expiryLagMs = 30;
const watchDelayMs = 10;

/**
 * Only what the contract demands: wherever it leaves a store some freedom, chance decides. What works on this works on
 * stores that read after they write, re-create what changes its lease, or notify late and of the latest state alone.
 */
export function weak(random: () => number): Mode {
  const below = (limit: number) => Math.floor(random() * limit);
  const oneIn = (count: number) => below(count) === 0;
  return {
    name: "memory (weak)",
    guarantees: {
      consistency: "linearizable, but a transaction's reads may be later than its writes",
      expiryLagMs,
      watchDelayMs,
      failover: "there is none: the store lives and dies with its process",
      mayForget: false,
      cost: "a commit is a step of the program, a lease an object in it",
    },
    // More than a number holds exactly, to catch whoever makes one of it.
    firstRevision: 2n ** 53n + BigInt(below(1_000)),
    newWithLease: true,
    // Never 1: where an incarnation follows another at once, the revision between them is when the key was absent.
    revisionStep: () => (oneIn(20) ? 2n ** 32n : 2n + BigInt(below(20))),
    grantedMs: (askedMs) => Math.ceil(askedMs / ttlStepMs) * ttlStepMs,
    expiryLateMs: () => below(expiryLagMs + 1),
    watchLateMs: () => 1 + below(watchDelayMs),
    turnsBeforeReads: () => below(8),
    batches(changes) {
      if (oneIn(12)) return [{ gap: true }];
      const batches: WatchBatch[] = [];
      let together: Changes[] = [];
      for (const one of changes) {
        together.push(one);
        if (one !== changes.at(-1) && oneIn(2)) continue;
        batches.push(merged(together, one.revision));
        together = [];
      }
      return batches;
    },
  };
}

/** Several revisions as a store shows them that knows only how things stand at the last. */
function merged(together: readonly Changes[], revision: bigint): WatchBatch {
  const latest = new Map<string, Change>();
  const gone = new Set<string>();
  for (const change of together.flatMap(({ changes }) => changes)) {
    latest.set(change.key, change);
    if (change.entry === undefined) gone.add(change.key);
  }
  const changes = [...latest.values()].flatMap((change): Change[] => {
    const { key, entry } = change;
    if (entry === undefined) return [{ key, modified: revision, entry }];
    return gone.has(key) ? [{ key, modified: entry.created - 1n, entry: undefined }, change] : [change];
  });
  return { revision, changes };
}
