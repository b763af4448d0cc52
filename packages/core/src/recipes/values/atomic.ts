import { callOptions, checkFunction, checkOptions, wrongType } from "../../arguments.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { decodeJson, encodeJson, type Json } from "../../json.ts";
import type { CallOptions, Revision } from "../../ports/kv.ts";
import { Replica } from "../../replica.ts";
import { linkSignals } from "../../signals.ts";
import { Cell, type Content } from "./cell.ts";

/** A value, and when it was written. */
export interface Versioned<T> {
  readonly value: T;
  /** Tells it from every other writing, also of the same value; a later one has a larger revision. */
  readonly revision: Revision;
}

/**
 * A value that processes change together, kept as JSON; of what type it is you say, and nobody checks. Every change is
 * applied exactly once, also when the store's answer is lost (`receipts.ts`), and to the value it was made for: revisions
 * are compared, so a value that was changed back, or deleted and set anew, is not mistaken for the one that was read.
 */
export class Atomic<T extends Json> {
  readonly #context: Context;
  readonly #prefix: string;
  readonly #cell: Cell;

  constructor(context: Context, name: Name) {
    this.#context = context;
    this.#prefix = roomyPrefixOf("atomic", name, context.backend.limits);
    this.#cell = new Cell(context, this.#key);
  }

  get #key(): string {
    return `${this.#prefix}value`;
  }

  /** The value; undefined when there is none. One round trip, and no session. Rejects as `kv.get` does, and with `CORRUPT`. */
  async get(options: CallOptions = {}): Promise<Versioned<T> | undefined> {
    checkOptions("get", options, callOptions);
    return versioned(await this.#cell.read(options));
  }

  /**
   * Writes, whatever the value is, and gives the revision; one round trip. Surely nothing was written when it rejects with
   * `TypeError`, for what JSON cannot carry, or with `UNAVAILABLE`, `LEASE_LOST`, `LIMIT` or `DENIED`. It may have been with
   * `OUTCOME_UNKNOWN`, when the session ended before the store said so, and with `signal.reason`, after which it may also be
   * in a moment yet. It is sent again, for `timeoutMs` each time, while its outcome is unknown.
   */
  async set(value: T, options: CallOptions = {}): Promise<Revision> {
    const bytes = encodeJson("value", value);
    checkOptions("set", options, callOptions);
    return this.#cell.write(bytes, options);
  }

  /**
   * Writes if the value is still that of this revision, or with `undefined` if there is none; gives the new revision, and
   * undefined when it was not. One round trip. Rejects as `set` does.
   */
  async compareAndSet(
    expected: Revision | undefined,
    value: T,
    options: CallOptions = {},
  ): Promise<Revision | undefined> {
    if (expected !== undefined && typeof expected !== "bigint")
      throw wrongType("expected", expected, "a revision, which is a bigint, or undefined");
    const bytes = encodeJson("value", value);
    checkOptions("compareAndSet", options, callOptions);
    const outcome = await this.#cell.swap(expected, bytes, options);
    return outcome.swapped ? outcome.revision : undefined;
  }

  /**
   * Writes what `change` makes of the value, and gives it; `change` is called again with the newer value each time somebody
   * else was faster, so it must do nothing but that. What it throws, `update` rejects with, and nothing is written. Changes
   * made through one object take turns.
   *
   * One round trip when nobody else wrote since this object last did, and one more each time somebody was faster; it waits
   * for as long as they are. Rejects as `set` does, and with `CORRUPT`.
   */
  async update(change: (current: T | undefined) => T, options: WaitOptions = {}): Promise<Versioned<T>> {
    checkFunction("change of update", change);
    checkOptions("update", options, ["signal"]);
    let value: unknown;
    const next = (held: Content) => {
      value = change(versioned<T>(held)?.value);
      if (value instanceof Promise) throw new TypeError("change of update must give the value itself, not a promise");
      return encodeJson("what the change of update gives", value);
    };
    const revision = (await this.#cell.change(next, options)) as Revision;
    return { value: value as T, revision };
  }

  /** Deletes it, if it is there; one round trip. Rejects as `set` does. */
  async delete(options: CallOptions = {}): Promise<void> {
    checkOptions("delete", options, callOptions);
    await this.#cell.write(undefined, options);
  }

  /**
   * The value, and again whenever it is written; undefined while there is none. The newest wins: a slow reader skips values.
   * Needs no session. While the store is away it yields nothing.
   *
   * Rejects with `UNAVAILABLE` when the store does not answer at the start, with `CORRUPT`, with `signal.reason`, with
   * `CLOSED` when the conclave closes, and with `DENIED` as the store says. Leaving the loop ends it.
   */
  async *watch(options: WaitOptions = {}): AsyncGenerator<Versioned<T> | undefined, void, undefined> {
    checkOptions("watch", options, ["signal"]);
    using linked = linkSignals(options.signal, this.#context.closed);
    await using values = await Replica.open(this.#context.backend, this.#prefix, linked.signal);
    let seen: Revision | "nothing" | undefined = "nothing";
    for await (const { entries } of values) {
      const entry = entries.get(this.#key);
      if (entry?.modified === seen) continue;
      seen = entry?.modified;
      yield versioned(entry);
    }
  }
}

function versioned<T extends Json>(held: Content): Versioned<T> | undefined {
  return held && { value: decodeJson(held) as T, revision: held.modified };
}
