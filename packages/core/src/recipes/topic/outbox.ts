import type { Context, WaitOptions } from "../../context.ts";
import type { Entry, Put } from "../../ports/kv.ts";
import { abortable } from "../../signals.ts";
import { cursorText, encodeMessage } from "./message.ts";
import {
  advance,
  encodeHead,
  headOf,
  type KnownHead,
  mostPerCommit,
  type TopicKeep,
  type TopicKeys,
  untouched,
} from "./topic-head.ts";

/** What of a transaction's bytes is left to its keys and the head. */
const bytesForKeys = 64 * 1024;

/** Messages that are published together or not at all. */
interface Parcel {
  /** Each as JSON. */
  readonly values: readonly string[];
  readonly bytes: number;
  readonly signal: AbortSignal | undefined;
  readonly sent: (cursors: readonly string[]) => void;
  readonly failed: (error: unknown) => void;
}

/**
 * Publishes what one process has for a topic, in the order in which it comes:
 *
 *   1. load what waits, as many messages as one commit takes;
 *   2. in one commit, if the head is unchanged since it was last seen: put the messages under the next numbers, put the
 *      head, and delete the messages that are then kept no more;
 *   3. when another process was first, the commit wrote nothing and gave its head: go to 1 with that;
 *   4. what came meanwhile rides together in the next commit; go to 1.
 *
 * Numbers are given by a compare-and-set on one key, so they have neither holes nor doubles, and messages lie in the order
 * of their commits. Commits are sent through `receipts.ts`, so an answer that was lost doubles nothing.
 */
export class Outbox {
  readonly #context: Context;
  readonly #keys: TopicKeys;
  readonly #keep: TopicKeep & { readonly count: number };
  #waiting: Parcel[] = [];
  #known: KnownHead;
  #busy = false;

  constructor(context: Context, keys: TopicKeys, keep: TopicKeep & { readonly count: number }) {
    this.#context = context;
    this.#keys = keys;
    this.#keep = keep;
    this.#known = untouched(keys);
  }

  /** Whether anything waits to be published. */
  get busy(): boolean {
    return this.#busy;
  }

  /** How many messages one commit may publish: no more than are kept, lest it push out its own. */
  get mostTogether(): number {
    return Math.min(mostPerCommit, this.#keep.count);
  }

  /** How many bytes the messages of one commit may have together. */
  get mostBytes(): number {
    return this.#context.backend.limits.maxTxnBytes - bytesForKeys;
  }

  /** What a message adds to its commit, in bytes. */
  bytesOf(value: string): number {
    return encodeMessage("00000000", 1e13, this.#context.owner, value).length;
  }

  /** Publishes JSON texts, together or not at all; gives their cursors. They must be within what one commit may publish. */
  publish(values: readonly string[], bytes: number, { signal }: WaitOptions): Promise<readonly string[]> {
    const done = new Promise<readonly string[]>((sent, failed) => {
      signal?.throwIfAborted();
      this.#waiting.push({ values, bytes, signal, sent, failed });
    });
    if (!this.#busy && this.#waiting.length > 0) void this.#work();
    return abortable(done, signal);
  }

  async #work(): Promise<void> {
    this.#busy = true;
    // Whoever publishes in the same turn rides along.
    await undefined;
    for (;;) {
      const parcels = this.#load();
      if (parcels.length === 0) break;
      try {
        const cursors = await this.#send(parcels.flatMap(({ values }) => values));
        if (cursors === undefined) continue;
        this.#unload(parcels);
        for (const { values, sent } of parcels) sent(cursors.splice(0, values.length));
      } catch (error) {
        this.#unload(parcels);
        for (const { failed } of parcels) failed(error);
      }
    }
    this.#busy = false;
  }

  #load(): readonly Parcel[] {
    this.#waiting = this.#waiting.filter(({ signal }) => !signal?.aborted);
    let [count, bytes] = [0, 0];
    const tooMuch = this.#waiting.findIndex((parcel) => {
      count += parcel.values.length;
      bytes += parcel.bytes;
      return count > this.mostTogether || bytes > this.mostBytes;
    });
    return this.#waiting.slice(0, tooMuch < 0 ? undefined : tooMuch);
  }

  #unload(parcels: readonly Parcel[]): void {
    this.#waiting = this.#waiting.slice(parcels.length);
  }

  /** One attempt; undefined when the head was not what it was thought to be. */
  async #send(values: readonly string[]): Promise<string[] | undefined> {
    const { receipts, owner, closed } = this.#context;
    const { clock, kv } = this.#context.backend;
    const keys = this.#keys;
    const nowMs = clock.wallMs();
    const head = this.#known.head ?? { life: clock.id().slice(0, 8), first: 1, last: 0, marks: [] };
    const { next, doomed } = advance(head, values.length, this.#keep, nowMs);
    const puts = values.map((value, index): Put => {
      return { put: keys.message(head.last + 1 + index), value: encodeMessage(head.life, nowMs, owner, value) };
    });
    const once = await receipts.commit(
      {
        if: this.#known.if,
        then: [
          { put: keys.head, value: encodeHead(next) },
          ...puts,
          ...doomed.map((seq) => ({ delete: keys.message(seq) })),
        ],
        else: [{ get: keys.head }],
      },
      { signal: closed },
    );
    if (!once.applied) {
      this.#known = await headOf(keys, kv, once.results[0] as Entry | undefined, { signal: closed });
      return undefined;
    }
    this.#known = { head: next, if: [{ key: keys.head, modified: once.revision }] };
    return values.map((_, index) => cursorText({ life: head.life, seq: head.last + 1 + index }));
  }
}
