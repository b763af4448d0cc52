import { callOptions, checkFunction, checkOptions } from "../arguments.ts";
import { decode, encode } from "../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../context.ts";
import { Hold } from "../hold.ts";
import { Line } from "../line.ts";
import type { CallOptions } from "../ports/kv.ts";
import { tokenOf } from "../token.ts";

/** Someone who holds a mutex or waits for it. Others who use the same keys, `etcdctl lock` for one, are seen as well. */
export interface Contender {
  /** What the process calls itself: the `owner` it connected with, "" by default. */
  readonly owner: string;
  /** The token that its hold has, or will have. */
  readonly token: bigint;
  /** Its key, as the conclave's own `kv` knows it. Deleting it takes the place, or the hold, away. */
  readonly key: string;
  /** The id of the lease that keeps its place. */
  readonly lease: string | undefined;
}

/**
 * A fair lock between processes, by the line of `line.ts`: granted in the order in which the store took the requests. Not
 * re-entrant: who holds it and asks again waits for itself.
 *
 *   1. take a place in line;
 *   2. when it is our turn we hold the lock, with a token made of the key's creation revision;
 *   3. to release, delete the key, if it is still that incarnation.
 *
 * Free, it takes one round trip; the line is that of `etcdctl lock` and of Go's `concurrency.Mutex`. A waiter whose own
 * session is lost rejects at once with `LEASE_LOST`, and a lost hold is never taken again behind your back. When a holder
 * dies the next gets the lock at the end of its lease; a waiter that dies is skipped.
 */
export class Mutex {
  readonly #context: Context;
  readonly #line: Line;

  constructor(context: Context, name: Name) {
    this.#context = context;
    this.#line = new Line(context, { own: roomyPrefixOf("mutex", name, context.backend.limits) });
  }

  /**
   * Waits for the lock, for as long as it takes: for a deadline give `AbortSignal.timeout(ms)`. An outage while it waits
   * only delays it, if the session outlives that.
   *
   * Rejects with `signal.reason`, with `LEASE_LOST` when the session ends or the place in line is deleted, with
   * `UNAVAILABLE` when the store could not be reached to take a place, with `CLOSED` when the conclave closes, and with
   * `LIMIT` or `DENIED` as the store says. No place in line is left behind for longer than its lease.
   */
  async acquire(options: WaitOptions = {}): Promise<Hold> {
    checkOptions("acquire", options, ["signal"]);
    return this.#acquire(options);
  }

  /**
   * The lock if nobody holds it or waits for it, and otherwise undefined, in one round trip that then writes nothing.
   * Rejects as `acquire` does.
   */
  async tryAcquire(options: WaitOptions = {}): Promise<Hold | undefined> {
    checkOptions("tryAcquire", options, ["signal"]);
    const place = await this.#line.takeIfFree(encode(this.#context.owner), options);
    return place && new Hold(this.#context.backend, place);
  }

  /**
   * Waits for the lock, runs `work` while holding it, and releases. `work` must stop when `hold.signal` aborts: the hold
   * was lost, or `signal` aborted. Gives what `work` gave, or throws what it threw, also when the hold was lost meanwhile:
   * call `hold.signal.throwIfAborted()` where that matters. While it waits it rejects as `acquire` does.
   */
  async run<T>(work: (hold: Hold) => Promise<T> | T, options: WaitOptions = {}): Promise<T> {
    checkFunction("work of run", work);
    checkOptions("run", options, ["signal"]);
    const hold = await this.#acquire(options, options.signal);
    try {
      return await work(hold);
    } finally {
      await hold.release();
    }
  }

  /**
   * The holder and then everyone who waits, in order: for people, since it is out of date when it arrives. Needs no
   * session. Rejects as `kv.list` does.
   */
  async queue(options: CallOptions = {}): Promise<readonly Contender[]> {
    checkOptions("queue", options, callOptions);
    const entries = await this.#line.entries(options);
    return entries.map(({ key, value, created, lease }) => ({
      owner: decode(value),
      token: tokenOf(created),
      key,
      lease,
    }));
  }

  async #acquire(options: WaitOptions, until?: AbortSignal): Promise<Hold> {
    const place = await this.#line.take(encode(this.#context.owner), options);
    return new Hold(this.#context.backend, place, until);
  }
}
