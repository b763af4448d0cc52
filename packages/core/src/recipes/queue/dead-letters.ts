import { callOptions, checkName, checkOptions } from "../../arguments.ts";
import type { Context } from "../../context.ts";
import type { Json } from "../../json.ts";
import type { CallOptions, Entry, Put } from "../../ports/kv.ts";
import {
  checkCount,
  checkIds,
  type Death,
  encodeRecord,
  type Meta,
  payloadOf,
  type QueueKeys,
  recordOf,
} from "./queue-item.ts";

/** An item that is not delivered any more. */
export interface DeadLetter<T extends Json = Json> {
  readonly id: string;
  /** What was enqueued; undefined when it is missing, or is not JSON. */
  readonly value: T | undefined;
  /** What the last `nack` said, or how it died otherwise. */
  readonly reason: string;
  readonly deliveries: number;
  readonly priority: number;
  /** By the wall clock of whoever enqueued it. */
  readonly enqueuedAtMs: number;
  /** By the wall clock of whoever moved it here. */
  readonly diedAtMs: number;
}

/** Which dead letters to show. */
export interface DeadLetterOptions extends CallOptions {
  /** How many at most, from 1 to 100; 20 by default. */
  readonly limit?: number | undefined;
  /** The id of the last one of the page before. */
  readonly startAfter?: string | undefined;
}

/** How many letters one commit moves or removes: of each two keys, and a receipt. */
const lettersPerCommit = 49;
const lettersPerPage = 100;

/** The items of a queue that nobody could process: to look at, to deliver anew, to throw away. */
export class DeadLetters {
  readonly #context: Context;
  readonly #keys: QueueKeys;

  constructor(context: Context, keys: QueueKeys) {
    this.#context = context;
    this.#keys = keys;
  }

  async page({ limit = 20, startAfter, ...call }: DeadLetterOptions): Promise<readonly DeadLetter[]> {
    checkCount("limit of deadLetters", limit, lettersPerPage);
    if (startAfter !== undefined) checkName("startAfter of deadLetters", startAfter);
    const entries = await this.#list(limit, startAfter, call);
    const { kv } = this.#context.backend;
    return Promise.all(
      entries.map(async ({ key, value }) => {
        const id = this.#idOf(key);
        const payload = payloadOf(await kv.get(this.#keys.data(id), call));
        const { reason = "", deliveries = 0, priority = 0, enqueuedAtMs = 0, diedAtMs = 0 } = deathOf(value);
        return { id, value: payload?.value, reason, deliveries, priority, enqueuedAtMs, diedAtMs };
      }),
    );
  }

  /** Puts them at the end of the queue, as if they had never been delivered; how many there were. */
  redrive(ids: readonly string[] | undefined, options: CallOptions): Promise<number> {
    return this.#each(ids, options, (id, { value }) => {
      const { diedAtMs: _, reason: __, ...death } = deathOf(value);
      const { priority = 0, enqueuedAtMs = 0, bytes = 0 } = death;
      const meta: Meta = { priority, enqueuedAtMs, bytes, availableAtMs: 0, deliveries: 0 };
      return { put: this.#keys.item(id), value: encodeRecord(meta) };
    });
  }

  /** Removes them for good; how many there were. */
  discard(ids: readonly string[], options: CallOptions): Promise<number> {
    return this.#each(ids, options, (id) => ({ delete: this.#keys.data(id) }));
  }

  async #each(
    ids: readonly string[] | undefined,
    options: CallOptions,
    change: (id: string, entry: Entry) => Put | { readonly delete: string },
  ): Promise<number> {
    let done = 0;
    for await (const entries of this.#pages(ids, options)) {
      for (let from = 0; from < entries.length; from += lettersPerCommit)
        done += await this.#move(entries.slice(from, from + lettersPerCommit), options, change);
    }
    return done;
  }

  /** Applies to all of them in one commit, or where somebody was faster with one, to each that is still there. */
  async #move(
    entries: readonly Entry[],
    options: CallOptions,
    change: (id: string, entry: Entry) => Put | { readonly delete: string },
  ): Promise<number> {
    if (entries.length === 0) return 0;
    const { applied } = await this.#context.receipts.commit(
      {
        if: entries.map(({ key, modified }) => ({ key, modified })),
        then: entries.flatMap((entry) => [{ delete: entry.key }, change(this.#idOf(entry.key), entry)]),
      },
      options,
    );
    if (applied || entries.length === 1) return applied ? entries.length : 0;
    let done = 0;
    for (const entry of entries) done += await this.#move([entry], options, change);
    return done;
  }

  async *#pages(ids: readonly string[] | undefined, options: CallOptions): AsyncGenerator<readonly Entry[]> {
    const { kv } = this.#context.backend;
    if (ids) {
      const all = [...new Set(ids)];
      for (let from = 0; from < all.length; from += lettersPerPage) {
        const then = all.slice(from, from + lettersPerPage).map((id) => ({ get: this.#keys.letter(id) }));
        const { results } = await kv.commit({ then }, options);
        yield (results as readonly (Entry | undefined)[]).filter((entry) => entry !== undefined);
      }
      return;
    }
    for (let startAfter: string | undefined; ; ) {
      const entries = await this.#list(lettersPerPage, startAfter, options);
      yield entries;
      const last = entries.at(-1);
      if (last === undefined || entries.length < lettersPerPage) return;
      startAfter = this.#idOf(last.key);
    }
  }

  async #list(limit: number, startAfter: string | undefined, options: CallOptions): Promise<readonly Entry[]> {
    const after = startAfter === undefined ? undefined : this.#keys.letter(startAfter);
    return (await this.#context.backend.kv.list(this.#keys.dead, { ...options, limit, startAfter: after })).entries;
  }

  #idOf(key: string): string {
    return key.slice(this.#keys.dead.length);
  }
}

function deathOf(value: Uint8Array): Partial<Death> {
  return recordOf<Death>(value) ?? {};
}

/** Checks what `redrive` and `discardDead` are given. */
export function checkLetters(call: string, ids: unknown, options: unknown): void {
  checkIds(`ids of ${call}`, ids);
  checkOptions(call, options, callOptions);
}
