import type { Context } from "../../context.ts";
import { encodeJson } from "../../json.ts";
import { portableLimits } from "../../ports/backend.ts";
import { elapsedMs, instant } from "../../ports/clock.ts";
import type { Condition, Put } from "../../ports/kv.ts";
import { linkSignals, sleep } from "../../signals.ts";
import { type FreeSlot, forNow, indexOf, type QueueIndex } from "./queue-index.ts";
import { encodeRecord, type Meta, type QueueKeys } from "./queue-item.ts";

/** How many items one commit enqueues: of each a payload and an item, and a receipt. */
const itemsPerCommit = 49;
/** The same of a bounded queue, in which each takes a place too. */
const boundedItemsPerCommit = 33;
/** What of a transaction is for keys and the index. */
const overheadBytes = 64 * 1024;

/** An item as it is to be written; only its place, in a bounded queue, is not known yet. */
export interface Draft {
  readonly id: string;
  readonly payload: Uint8Array;
  readonly meta: Meta;
}

/**
 * How items are put in a queue: their payloads, and what the index says of them, in one commit that is applied once.
 *
 * In a bounded queue each also takes one of `maxLength` numbered places, so that the bound is exact, and holds for the
 * commit that would exceed it.
 */
export class Intake {
  readonly #context: Context;
  readonly #keys: QueueKeys;
  readonly #maxLength: number | undefined;

  constructor(context: Context, keys: QueueKeys, maxLength: number | undefined) {
    this.#context = context;
    this.#keys = keys;
    this.#maxLength = maxLength;
  }

  /** How many can be put at once. */
  get mostItems(): number {
    return this.#maxLength === undefined ? itemsPerCommit : Math.min(boundedItemsPerCommit, this.#maxLength);
  }

  /** Puts them in the queue, all or none, in one commit that is applied once, as soon as there is room. */
  async enqueue(drafts: readonly Draft[], signal: AbortSignal | undefined): Promise<void> {
    const bytes = drafts.reduce((sum, { payload }) => sum + payload.length, 0);
    const mostBytes = portableLimits.maxTxnBytes - overheadBytes;
    if (bytes > mostBytes)
      throw new RangeError(`what is enqueued at once must be at most ${mostBytes} bytes of JSON, not ${bytes}`);
    if (this.#maxLength !== undefined) return this.#enqueueWithin(drafts, this.#maxLength, signal);
    await this.#context.receipts.commit({ then: drafts.flatMap((draft) => this.#puts(draft)) }, { signal });
  }

  /**
   * Enqueues where the live index shows places that nothing takes, if that is still so, and otherwise waits for some. When
   * many wait for few places, the crowd thins as that of who claims does.
   */
  async #enqueueWithin(drafts: readonly Draft[], maxLength: number, signal: AbortSignal | undefined): Promise<void> {
    const { backend, closed } = this.#context;
    const index = indexOf(this.#context, this.#keys);
    const { producers } = index;
    using linked = linkSignals(signal, closed);
    using _ = await index.open(linked.signal);
    for (;;) {
      const before = index.changes;
      const look = () => index.freeSlots(drafts.length + producers.spread - 1, maxLength);
      let free = look();
      const pauseMs = free.length < drafts.length ? 0 : producers.pauseMs(free.length);
      if (pauseMs > 0) {
        await sleep(backend.clock, pauseMs, linked.signal);
        free = look();
      }
      if (free.length < drafts.length) {
        await index.changed(before, linked.signal);
        continue;
      }
      const from = producers.pick(free.length - drafts.length + 1);
      const sentAt = instant(backend.clock);
      const chosen = free.slice(from, from + drafts.length);
      if (await this.#takeSlots(drafts, chosen, index, linked.signal))
        return producers.won(elapsedMs(backend.clock, sentAt));
      producers.lost(elapsedMs(backend.clock, sentAt));
    }
  }

  /** Whether they were free, and the items enqueued. */
  async #takeSlots(
    drafts: readonly Draft[],
    free: readonly FreeSlot[],
    index: QueueIndex,
    signal: AbortSignal,
  ): Promise<boolean> {
    const keys = free.map(({ number }) => this.#keys.slot(number));
    const undo = keys.map((key) => index.pass(key, forNow));
    try {
      const done = await this.#context.receipts.commit(
        {
          if: free.flatMap((slot) => this.#stillFree(slot)),
          then: drafts.flatMap((draft, nth) => this.#puts(draft, free[nth]?.number)),
          else: keys.map((key) => ({ get: key })),
        },
        { signal },
      );
      for (const [nth, key] of keys.entries()) {
        // What somebody took and gave back meanwhile is free.
        const revision = done.applied ? done.revision : done.results[nth]?.modified;
        if (revision !== undefined) index.pass(key, revision);
      }
      return done.applied;
    } finally {
      for (const one of undo) one();
    }
  }

  #stillFree({ number, left }: FreeSlot): readonly Condition[] {
    const key = this.#keys.slot(number);
    if (left === undefined) return [{ key, exists: false }];
    const { modified, id } = left;
    // A watch may show an item later than the place it takes.
    return [{ key, modified }, ...(id === undefined ? [] : [{ key: this.#keys.item(id), exists: false }])];
  }

  #puts({ id, payload, meta }: Draft, slot?: number): Put[] {
    const puts: Put[] = [
      { put: this.#keys.data(id), value: payload },
      { put: this.#keys.item(id), value: encodeRecord({ ...meta, slot }) },
    ];
    if (slot !== undefined) puts.push({ put: this.#keys.slot(slot), value: encodeJson("a place", { id }) });
    return puts;
  }
}
