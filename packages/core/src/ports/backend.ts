import type { Clock } from "./clock.ts";
import type { CallOptions, KV } from "./kv.ts";
import type { Leases } from "./leases.ts";
import type { Watches } from "./watches.ts";

/** One client of a store: what recipes stand on. A process usually has one. */
export interface Backend extends AsyncDisposable {
  /** What messages call it: "etcd", "memory". */
  readonly name: string;
  readonly kv: KV;
  readonly leases: Leases;
  readonly watches: Watches;
  /** The time this client lives by: the system's, or a test's own. */
  readonly clock: Clock;
  /** What it takes, in numbers. */
  readonly limits: Limits;
  /** What it promises, in numbers and words. */
  readonly guarantees: Guarantees;
  /** Ends the client: its watches, and calls after that, end with `CLOSED`. Its leases are left to expire. */
  [Symbol.asyncDispose](): PromiseLike<void>;
}

/** How to become a client of a store: what `etcd({ … })` and `memory()` give, and `connect` takes. Does no I/O itself. */
export interface Connector {
  /**
   * Makes another client, which its caller disposes. Rejects with `UNAVAILABLE` when the store does not answer within
   * `timeoutMs`, `DENIED` for wrong credentials, `UNSUPPORTED` for a server too old, `signal.reason` when that aborts.
   */
  connect(options?: ConnectorOptions): Promise<Backend>;
}

/** What a connector takes: how long to try, and whom to warn. */
export interface ConnectorOptions extends CallOptions {
  /** Told, in a sentence, what an operator should know: a server with known bugs, a weakened promise. Never printed. */
  readonly onWarning?: ((warning: string) => void) | undefined;
}

/** What one backend takes; more is a `RangeError` before anything is sent. */
export interface Limits {
  /** Conditions, and operations in a branch, of one transaction. */
  readonly maxOperations: number;
  /** Of a key or prefix, in UTF-8. */
  readonly maxKeyBytes: number;
  /** Of one value. */
  readonly maxValueBytes: number;
  /** Keys and values of `then`, together. */
  readonly maxTxnBytes: number;
  /** What a shorter time to live is raised to, in milliseconds. */
  readonly minTtlMs: number;
  /** Above it, in milliseconds, a grant is refused. */
  readonly maxTtlMs: number;
}

/** What every backend accepts; asking more of one backend would tie a program to it. */
export const portableLimits: Omit<Limits, "minTtlMs" | "maxTtlMs"> = {
  maxOperations: 100,
  maxKeyBytes: 512,
  maxValueBytes: 512 * 1024,
  maxTxnBytes: 512 * 1024,
};

/**
 * What a store can promise, in numbers and words; `docs/guarantees.md` compares them. The conformance suite holds a backend
 * to the numbers that its subject's `timing` repeats.
 */
export interface Guarantees {
  /** Whether reads and writes are linearizable, and by virtue of what. */
  readonly consistency: string;
  /** How many milliseconds after its time to live a lease's keys may still be there, without a fault. */
  readonly expiryLagMs: number;
  /** How many milliseconds late a watch may be, without a fault. */
  readonly watchDelayMs: number;
  /** What a failover of the store may lose, in words. */
  readonly failover: string;
  /** Whether that may be writes it had acknowledged. Recipes whose promise weakens by it say so once, through `onWarning`. */
  readonly mayForget: boolean;
  /** What a commit and a lease cost on this store, in words. */
  readonly cost: string;
}
