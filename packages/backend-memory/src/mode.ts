import type { Change, Guarantees, Revision, WatchBatch } from "@conclave/core/backend";

/** What one revision changed. */
export interface Changes {
  readonly revision: Revision;
  readonly changes: readonly Change[];
}

/** In what a weak store differs from a strong one: everything the contract leaves to a store. */
export interface Mode {
  readonly name: string;
  readonly guarantees: Guarantees;
  readonly firstRevision: Revision;
  /** Whether a put that moves a key to another lease, or off its lease, makes it a new incarnation. */
  readonly newWithLease: boolean;
  /** How far the next revision lies above the last. */
  revisionStep(): bigint;
  /** The time to live granted to who asked for this one; at least as much. */
  grantedMs(askedMs: number): number;
  /** How long after its time to live this lease is taken away. */
  expiryLateMs(): number;
  /** How long until a watch hears of a change; undefined for at once. */
  watchLateMs(): number | undefined;
  /** How many turns other calls get between a commit's writes and its reads. */
  turnsBeforeReads(): number;
  /** What a watch shows of these changes. */
  batches(changes: readonly Changes[]): readonly WatchBatch[];
}

/** All that the contract allows a store to promise. */
export const strong: Mode = {
  name: "memory",
  guarantees: {
    consistency: "linearizable: every call is one step of a single-threaded program",
    expiryLagMs: 0,
    watchDelayMs: 0,
    failover: "there is none: the store lives and dies with its process",
    mayForget: false,
    cost: "a commit is a step of the program, a lease an object in it",
  },
  firstRevision: 1n,
  newWithLease: false,
  revisionStep: () => 1n,
  grantedMs: (askedMs) => Math.max(1, askedMs),
  expiryLateMs: () => 0,
  watchLateMs: () => undefined,
  turnsBeforeReads: () => 0,
  batches: (changes) => changes,
};
