import { outOfRange } from "../../arguments.ts";
import { encode } from "../../bytes.ts";
import type { Context } from "../../context.ts";
import { CoordinationError } from "../../errors.ts";
import { decodeJson } from "../../json.ts";
import type { CallOptions, Entry, List, Listing, Revision } from "../../ports/kv.ts";
import { settle } from "../../settle.ts";
import { linkSignals } from "../../signals.ts";

/** How many permits a semaphore has, as its own key says. */
export interface Limit {
  readonly permits: number;
  /** The most that there were since the oldest key now in line was created, or some earlier time. */
  readonly largest: number;
  /** Whether it was set by `resize`; what programs say it is no longer matters then. */
  readonly resized: boolean;
  readonly modified: Revision;
}

/** The most permits that a semaphore can have. */
export const mostPermits = 1_000_000_000;

/** The limit of one semaphore, which its first user stores, and which stays when all are gone. */
export class StoredLimit {
  readonly key: string;
  readonly #context: Context;
  readonly #line: string;
  readonly #wanted: number | undefined;

  /** Of the permits in the line given; `wanted` is what this user says it is. */
  constructor(context: Context, key: string, line: string, wanted: number | undefined) {
    this.key = key;
    this.#context = context;
    this.#line = line;
    this.#wanted = wanted;
  }

  /**
   * What the entry says, which is stored if it is not there yet. Throws `RangeError` when this user says something else,
   * or nothing while nothing is stored; and `CORRUPT`.
   */
  async agreed(entry: Entry | undefined, signal: AbortSignal): Promise<Limit> {
    const limit = limitIn(entry ?? (await this.#store(signal)));
    if (this.#wanted !== undefined && this.#wanted !== limit.permits && !limit.resized)
      throw outOfRange("limit of the semaphore", this.#wanted, `${limit.permits}, as it is for others`);
    return limit;
  }

  /** What is stored; undefined when nothing is. */
  async stored(options: CallOptions): Promise<Limit | undefined> {
    const entry = await this.#context.backend.kv.get(this.key, options);
    return entry && limitIn(entry);
  }

  /** What is stored, and in the same cut a list. */
  async storedWith(list: List, options: CallOptions): Promise<[Limit | undefined, Listing]> {
    const { results } = await this.#context.backend.kv.commit({ then: [{ get: this.key }, list] }, options);
    const [entry, listing] = results as readonly [Entry | undefined, Listing];
    return [entry && limitIn(entry), listing];
  }

  /**
   * Stores another limit:
   *
   *   1. read the limit, and who is first in line;
   *   2. if the limit is still the same, write the new one, and with it the largest that anybody in line has known: who came
   *      after the last time it was set knows none but that. Otherwise go to 1.
   *
   * A write that is sent twice, or arrives late, finds the limit changed.
   */
  async resize(permits: number, { signal, timeoutMs }: CallOptions): Promise<void> {
    const { kv, clock } = this.#context.backend;
    using linked = linkSignals(signal, this.#context.closed);
    const options = { signal: linked.signal, timeoutMs };
    const first = { list: this.#line, order: "oldest", limit: 1, keysOnly: true } as const;
    for (;;) {
      const [before, { entries }] = await this.storedWith(first, options);
      if (before?.permits === permits && before.resized) return;
      const [oldest] = entries;
      const known = before && oldest && oldest.created < before.modified ? before.largest : before?.permits;
      const value = textOf({ permits, largest: Math.max(permits, known ?? permits), resized: true });
      const unchanged = before ? { key: this.key, modified: before.modified } : { key: this.key, exists: false };
      const txn = { if: [unchanged], then: [{ put: this.key, value }] };
      if ((await settle(clock, linked.signal, () => kv.commit(txn, options))).succeeded) return;
    }
  }

  async #store(signal: AbortSignal): Promise<Entry> {
    const { kv, clock } = this.#context.backend;
    const permits = this.#wanted;
    if (permits === undefined)
      throw new RangeError(`the semaphore has no limit yet, so give it one: the key ${this.key} is not there`);
    const put = { put: this.key, value: textOf({ permits, largest: permits, resized: false }) };
    const get = { get: this.key };
    const absent = { key: this.key, exists: false };
    const txn = { if: [absent], then: [put, get], else: [get] } as const;
    const commit = await settle(clock, signal, () => kv.commit(txn, { signal }));
    const entry = commit.succeeded ? commit.results[1] : commit.results[0];
    return entry ?? this.#store(signal);
  }
}

function textOf(limit: Omit<Limit, "modified">): Uint8Array {
  return encode(JSON.stringify(limit));
}

/** What an entry says; throws `CORRUPT` for what is not a limit. */
function limitIn(entry: Entry): Limit {
  const { permits, largest, resized } = { ...(decodeJson(entry) as Partial<Limit> | null) };
  if (isCount(permits) && isCount(largest) && largest >= permits && typeof resized === "boolean")
    return { permits, largest, resized, modified: entry.modified };
  throw new CoordinationError("CORRUPT", `the value of the key ${entry.key} is not a semaphore's limit`);
}

/** Whether it is a number of permits. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= mostPermits;
}
