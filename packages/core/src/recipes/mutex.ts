import { callOptions, checkFunction, checkOptions } from "../arguments.ts";
import { decode, encode } from "../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../context.ts";
import { Hold } from "../hold.ts";
import { Line } from "../line.ts";
import type { CallOptions, Revision } from "../ports/kv.ts";

/** Someone who holds a mutex or waits for it. */
export interface Contender {
  /** What the process calls itself: the `owner` it connected with. */
  readonly owner: string;
  readonly token: Revision;
  readonly key: string;
  /** The lease that keeps its place. */
  readonly lease: string | undefined;
}

/**
 * A fair lock between processes: granted in the order it was asked for, by the line of `line.ts`.
 *
 *   1. take a place in line;
 *   2. when it is our turn we hold the lock, with the key's creation revision as the token;
 *   3. to release, delete the key, if it is still that incarnation.
 *
 * Free, it takes one round trip; the line is that of `etcdctl lock` and of Go's `concurrency.Mutex`. A waiter whose own
 * session is lost rejects at once with `LEASE_LOST`, and a lost hold is never taken again behind your back.
 */
export class Mutex {
  readonly #context: Context;
  readonly #line: Line;

  constructor(context: Context, name: Name) {
    this.#context = context;
    this.#line = new Line(context, roomyPrefixOf("mutex", name, context.backend.limits));
  }

  /**
   * Waits for the lock. Rejects with `signal.reason`, with `LEASE_LOST` when the session ends first, with `UNAVAILABLE`
   * when the store could not be reached to take a place in line.
   */
  async acquire(options: WaitOptions = {}): Promise<Hold> {
    checkOptions("acquire", options, ["signal"]);
    return this.#acquire(options);
  }

  /** The lock if nobody holds it or waits for it, and otherwise undefined, in one round trip that then writes nothing. */
  async tryAcquire(options: WaitOptions = {}): Promise<Hold | undefined> {
    checkOptions("tryAcquire", options, ["signal"]);
    const place = await this.#line.takeIfFree(encode(this.#context.owner), options);
    return place && new Hold(this.#context.backend, place);
  }

  /**
   * Waits for the lock, runs `work` while holding it, and releases. `work` must stop when `hold.signal` aborts: the hold
   * was lost, or `signal` aborted.
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

  /** The holder and then everyone who waits, in order: for people, since it is out of date when it arrives. */
  async queue(options: CallOptions = {}): Promise<readonly Contender[]> {
    checkOptions("queue", options, callOptions);
    const entries = await this.#line.entries(options);
    return entries.map(({ key, value, created, lease }) => ({ owner: decode(value), token: created, key, lease }));
  }

  async #acquire(options: WaitOptions, until?: AbortSignal): Promise<Hold> {
    const place = await this.#line.take(encode(this.#context.owner), options);
    return new Hold(this.#context.backend, place, until);
  }
}
