import { callOptions, checkOptions } from "../../arguments.ts";
import { encode } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { decodeJson, encodeJson, type Json } from "../../json.ts";
import { Line } from "../../line.ts";
import { leave } from "../../place.ts";
import type { CallOptions, Entry } from "../../ports/kv.ts";
import { linkSignals } from "../../signals.ts";
import { waitUntil } from "../../wait.ts";

/** Among how many of the oldest to pick, where others pop at the same time. */
const crowd = 16;

/**
 * A queue whose items are gone once they are popped: at most once. Who pops an item and dies has lost it; where that
 * matters, use `queue`.
 *
 *   1. to push, put the item in a commit that is applied once, whatever becomes of its answer;
 *   2. to pop, read the oldest, and delete it in such a commit, if it is still there; when another was faster, try any of
 *      the oldest few;
 *   3. who finds none waits in line, and only the first in line watches for items, so that one that comes wakes one.
 *
 * Pops by the way of Go's experimental queue recipe for etcd, without its herd, and with an answer that can be trusted.
 */
export class DestructiveQueue<T extends Json = Json> {
  readonly #context: Context;
  readonly #prefix: string;
  readonly #line: Line;

  constructor(context: Context, name: Name) {
    this.#context = context;
    this.#prefix = roomyPrefixOf("destructive-queue", name, context.backend.limits);
    this.#line = new Line(context, { own: `${this.#prefix}wait/` });
  }

  get #items(): string {
    return `${this.#prefix}item/`;
  }

  /**
   * Puts a value at the end, in one round trip.
   *
   * Rejects with `UNAVAILABLE`, `LEASE_LOST`, `LIMIT` or `DENIED` when surely nothing was pushed, with `OUTCOME_UNKNOWN` when
   * the session ended before the store said, with `CLOSED`, with `signal.reason`, after which what was sent may have been
   * pushed, and with `TypeError` or `RangeError` for what JSON cannot carry, or is too large.
   */
  async push(value: T, options: CallOptions = {}): Promise<void> {
    checkOptions("push", options, callOptions);
    const put = { put: this.#items + this.#context.backend.clock.id(), value: encodeJson("value", value) };
    await this.#context.receipts.commit({ then: [put] }, options);
  }

  /**
   * Takes the oldest, and waits while there is none, for as long as it takes.
   *
   * Rejects with `signal.reason`, and then nothing was taken; with `LEASE_LOST` when the session ends while it waits; with
   * `OUTCOME_UNKNOWN` when it ends while something is being taken, which may then be gone; with `CORRUPT` for what was
   * not JSON, and is gone; with `UNAVAILABLE`, `CLOSED`, `LIMIT` or `DENIED` when nothing was taken.
   */
  async pop(options: WaitOptions = {}): Promise<T> {
    checkOptions("pop", options, ["signal"]);
    const taken = await this.#take(options.signal);
    return this.#valueOf(taken ?? (await this.#waitInLine(options)));
  }

  /** The oldest, or undefined when there is none, in two round trips. Rejects as `pop`, which it does not wait as. */
  async tryPop(options: WaitOptions = {}): Promise<T | undefined> {
    checkOptions("tryPop", options, ["signal"]);
    const taken = await this.#take(options.signal);
    return taken && this.#valueOf(taken);
  }

  /** How many items there are; out of date when it arrives. Rejects as `kv.list`. */
  async length(options: CallOptions = {}): Promise<number> {
    checkOptions("length", options, callOptions);
    return (await this.#context.backend.kv.list(this.#items, { ...options, keysOnly: true })).entries.length;
  }

  async #waitInLine(options: WaitOptions): Promise<Entry> {
    const place = await this.#line.take(encode(this.#context.owner), options);
    const { session } = place;
    using linked = linkSignals(options.signal, session.signal);
    const { signal } = linked;
    try {
      for (;;) {
        const recheckMs = session.lease.ttlMs;
        const some = await waitUntil(this.#context.backend, [{ prefix: this.#items }], () => this.#oldest(signal), {
          signal,
          recheckMs,
        });
        const taken = await this.#takeOf(some, signal);
        if (!taken) continue;
        await leave(place);
        return taken;
      }
    } catch (error) {
      void leave(place);
      throw error;
    }
  }

  async #take(signal: AbortSignal | undefined): Promise<Entry | undefined> {
    using linked = linkSignals(signal, this.#context.closed);
    return this.#takeOf((await this.#oldest(linked.signal)) ?? [], linked.signal);
  }

  async #oldest(signal: AbortSignal): Promise<readonly Entry[] | undefined> {
    const { entries } = await this.#context.backend.kv.list(this.#items, { order: "oldest", limit: crowd, signal });
    return entries.length > 0 ? entries : undefined;
  }

  /** Deletes the first of them that can be had; undefined when there is none any more. */
  async #takeOf(oldest: readonly Entry[], signal: AbortSignal): Promise<Entry | undefined> {
    const { clock } = this.#context.backend;
    let [choice] = oldest;
    while (choice) {
      signal.throwIfAborted();
      const { key, created } = choice;
      // Without the signal: what is being taken must be had, or not be gone.
      const done = await this.#context.receipts.commit({
        if: [{ key, created }],
        then: [{ delete: key }],
        else: [{ list: this.#items, order: "oldest", limit: crowd }],
      });
      if (done.applied) return choice;
      const { entries } = done.results[0];
      choice = entries[Math.floor(clock.random() * entries.length)];
    }
    return undefined;
  }

  #valueOf(entry: Entry): T {
    return decodeJson(entry) as T;
  }
}
