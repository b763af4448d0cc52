import type { Backend } from "@conclave/core/backend";

/** A store under test, and the two things a test does to the processes that use it. */
export interface Subject extends AsyncDisposable {
  /** Starts another process: a client of its own, which shares nothing with the others but the store. */
  connect(): Promise<Backend>;
  /**
   * Cuts a process off for good: its calls fail, its leases are not renewed, and nobody tells it. The backend given is
   * one that `connect` returned.
   */
  kill(backend: Backend): Promise<void>;
  /**
   * How many round trips a process has made so far: how often its client spoke after the store had, on all its connections
   * together, as a proxy between the two counts them. Needed where `describeBackend` is told what calls cost.
   */
  roundTrips?(backend: Backend): number;
  /** What the suite may expect of the store, and holds it to. */
  readonly timing: Timing;
}

/** Where stores differ honestly, in milliseconds of the backend's own clock. Every wait in the suite follows from these. */
export interface Timing {
  /** A time to live that is short, and that the store grants without raising it much. */
  readonly ttlMs: number;
  /** How long after its time to live the keys of a lease may still be there. */
  readonly expiryLagMs: number;
  /** How long after it was committed a watch may show a change. */
  readonly watchDelayMs: number;
}
