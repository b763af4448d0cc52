import { callOptions, checkFunction, checkMs, checkOptions, outOfRange, wrongType } from "../../arguments.ts";
import { decode } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import type { Hold } from "../../hold.ts";
import { Line } from "../../line.ts";
import type { CallOptions } from "../../ports/kv.ts";
import { maxHandovers, tokenOf } from "../../token.ts";
import { Cohort, type LocalLimits } from "./cohort.ts";

/** How callers of one process share a mutex. What counts is what the caller who is next in the queue asked for. */
export interface MutexOptions {
  /**
   * How often in a row a release hands the lock to the next caller of its own process, without a round trip, before other
   * processes get their turn: from 0, never, to 511; 100 when absent.
   */
  readonly maxLocalHandovers?: number | undefined;
  /** How many milliseconds a process may have had the lock when it hands it over among its own callers; 100 when absent. */
  readonly maxLocalHoldMs?: number | undefined;
}

/** How to wait for a mutex. */
export interface AcquireOptions extends WaitOptions {
  /**
   * A hold of this mutex that this caller has already: it gets one more hold of the same grant, with the same token, at
   * once and without a round trip. The lock is released when the last of them is.
   */
  readonly reenter?: Hold | undefined;
}

/** Someone who holds a mutex or waits for it. Others who use the same keys, `etcdctl lock` for one, are seen as well. */
export interface Contender {
  /** What the process calls itself: the `owner` it connected with, "" by default. */
  readonly owner: string;
  /** The token that its first hold by this key has, or will have; those of its later callers are larger. */
  readonly token: bigint;
  /** Its key, as the conclave's own `kv` knows it. Deleting it takes the place, or the hold, away. */
  readonly key: string;
  /** The id of the lease that keeps its place. */
  readonly lease: string | undefined;
}

const acquireOptions: readonly string[] = ["signal", "reenter"];

/**
 * A fair lock between processes, by the line of `line.ts`, and between the callers of each, by the queue of `cohort.ts`:
 *
 *   1. take a place in line, one for all who wait in this process;
 *   2. when it is our turn, the first who waits here holds the lock, with a token made of the key's creation revision;
 *   3. a release hands the lock to the next who waits here, for a while;
 *   4. otherwise, to release, delete the key, if it is still that incarnation.
 *
 * Free, it takes one round trip; the line is that of `etcdctl lock` and of Go's `concurrency.Mutex`, and processes get the
 * lock in the order in which the store took their requests. A waiter whose own session is lost rejects at once with
 * `LEASE_LOST`, and a lost hold is never taken again behind your back. When a holder dies the next gets the lock at the
 * end of its lease; a process that dies while it waits is skipped.
 *
 * Two callers exclude each other, whichever objects they call, also within one process: who holds it and asks again waits
 * for itself. Who means to hold it twice says so, by `reenter`.
 */
export class Mutex {
  readonly #context: Context;
  readonly #prefix: string;
  readonly #limits: LocalLimits;

  constructor(context: Context, name: Name, options: MutexOptions = {}) {
    checkOptions("mutex", options, ["maxLocalHandovers", "maxLocalHoldMs"]);
    const { maxLocalHandovers: handovers = 100, maxLocalHoldMs: holdMs = 100 } = options;
    checkHandovers(handovers);
    checkMs("maxLocalHoldMs", holdMs);
    this.#context = context;
    this.#prefix = roomyPrefixOf("mutex", name, context.backend.limits);
    this.#limits = { handovers, holdMs };
  }

  /**
   * Waits for the lock, for as long as it takes: for a deadline give `AbortSignal.timeout(ms)`. An outage while it waits
   * only delays it, if the session outlives that. Callers of one process get it in the order of their calls.
   *
   * Rejects with `signal.reason`, always at once; with `LEASE_LOST` when the session ends or the place in line is deleted,
   * with `UNAVAILABLE` when the store could not be reached to take a place, with `CLOSED` when the conclave closes, and
   * with `LIMIT` or `DENIED` as the store says; with `NOT_HELD` when what `reenter` gives is held no more. No place in
   * line is left behind for longer than its lease.
   */
  async acquire(options: AcquireOptions = {}): Promise<Hold> {
    checkOptions("acquire", options, acquireOptions);
    return this.#acquire(options);
  }

  /**
   * The lock if nobody holds it or waits for it, and otherwise undefined, in one round trip that then writes nothing; in
   * none at all when it is this process that holds it or waits. Rejects as `acquire` does, with `signal.reason` once a
   * write under way has settled.
   */
  async tryAcquire(options: AcquireOptions = {}): Promise<Hold | undefined> {
    checkOptions("tryAcquire", options, acquireOptions);
    return options.reenter === undefined
      ? Cohort.of(this.#context, this.#prefix).tryAcquire(options)
      : this.#acquire(options);
  }

  /**
   * Waits for the lock, runs `work` while holding it, and releases. `work` must stop when `hold.signal` aborts: the hold
   * was lost, or `signal` aborted. Gives what `work` gave, or throws what it threw, also when the hold was lost meanwhile:
   * call `hold.signal.throwIfAborted()` where that matters. While it waits it rejects as `acquire` does.
   */
  async run<T>(work: (hold: Hold) => Promise<T> | T, options: AcquireOptions = {}): Promise<T> {
    checkFunction("work of run", work);
    checkOptions("run", options, acquireOptions);
    await using hold = await this.#acquire(options, options.signal);
    return await work(hold);
  }

  /**
   * The process that holds it and then every one that waits, in order, each once, however many of its callers wait: for
   * people, since it is out of date when it arrives. Needs no session. Rejects as `kv.list` does.
   */
  async queue(options: CallOptions = {}): Promise<readonly Contender[]> {
    checkOptions("queue", options, callOptions);
    const entries = await new Line(this.#context, { own: this.#prefix }).entries(options);
    return entries.map(({ key, value, created, lease }) => ({
      owner: decode(value),
      token: tokenOf(created),
      key,
      lease,
    }));
  }

  async #acquire({ signal, reenter }: AcquireOptions, until?: AbortSignal): Promise<Hold> {
    signal?.throwIfAborted();
    if (reenter !== undefined) return Cohort.reenter(this.#context, this.#prefix, reenter, until);
    return Cohort.of(this.#context, this.#prefix).acquire({ signal, until, limits: this.#limits });
  }
}

function checkHandovers(value: unknown): void {
  if (typeof value !== "number") throw wrongType("maxLocalHandovers", value, "a whole number");
  if (Number.isInteger(value) && value >= 0 && value <= maxHandovers) return;
  throw outOfRange("maxLocalHandovers", value, `a whole number from 0 to ${maxHandovers}`);
}
