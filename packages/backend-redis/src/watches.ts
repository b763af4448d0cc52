import {
  type CallOptions,
  type Clock,
  onAbort,
  sleep,
  type Watch,
  type Watches,
  type WatchRange,
} from "@conclave/core/backend";
import { ChangeReader } from "./change-reader.ts";
import { decodePosition, isBefore, type Position } from "./changes.ts";
import type { Connection } from "./connection.ts";
import type { Reply } from "./link.ts";
import { changesKey } from "./script.ts";
import type { Space } from "./space.ts";
import { Subscription } from "./subscription.ts";

/** How long a lease may have been over before watches hear of it: so often we have the store look. */
export const tickMs = 500;
/** How long the reader may stand still while there is something to read. */
const patienceMs = 2_000;

/**
 * Watches of Redis: one stream tells every client everything, and each sorts out what its watches cover. While there are
 * watches a tick has the store end the leases whose time is over, also where nobody calls, and compares where the stream
 * ends with how far it was read.
 */
export class RedisWatches implements Watches {
  readonly #space: Space;
  readonly #clock: Clock;
  readonly #closed: AbortSignal;
  readonly #reader: ChangeReader;
  readonly #subscriptions = new Set<Subscription>();
  #ticking = false;
  /** Since when the reader stands at a place that is not the end. */
  #behind: { readonly at: Position; readonly sinceMs: number } | undefined;

  /** `events` is for the reader alone, since it blocks. */
  constructor(space: Space, events: Connection, clock: Clock) {
    this.#space = space;
    this.#clock = clock;
    this.#closed = events.closed;
    this.#reader = new ChangeReader(events, space.keys[changesKey] as string, {
      wanted: () => this.#subscriptions.size > 0,
      seen: () => space.horizon.seen,
      changed: (revision, changes) => {
        space.horizon.note(revision);
        for (const subscription of this.#subscriptions) subscription.hear(revision, changes);
      },
      missed: () => {
        for (const subscription of this.#subscriptions) subscription.missed();
      },
      refused: (error) => this.#fail(error),
    });
    this.#closed.addEventListener("abort", () => this.#fail(this.#closed.reason));
  }

  async watch(range: WatchRange, options?: CallOptions): Promise<Watch> {
    const signal = options?.signal;
    const subscription = new Subscription(range, this.#space.horizon.seen, () => {
      link[Symbol.dispose]();
      this.#subscriptions.delete(subscription);
    });
    const link = onAbort(signal, () => subscription.feed.fail(signal?.reason));
    // Before we ask where the stream ends: a reader that is on its way already may be past that when we hear it.
    this.#subscriptions.add(subscription);
    try {
      await this.#tick(options);
    } catch (error) {
      subscription.feed.fail(error);
      throw error;
    }
    void this.#keepTicking();
    return subscription.feed;
  }

  /** Has the store look at its leases and at its stream; how many milliseconds until the next lease ends. */
  async #tick(options?: CallOptions): Promise<number> {
    const readTo = this.#reader.position;
    const { revision, answer } = await this.#space.call({ name: "tick", effect: "read", args: [] }, options);
    const [dueMs, id] = answer as readonly [number, Reply];
    const tail = decodePosition(id);
    // What we had read when we asked is missing: another primary, or one that lost its data, has another history.
    if (readTo !== undefined && isBefore(tail, readTo)) this.#reader.skip(readTo, tail, revision);
    this.#reader.begin(tail, revision);
    this.#lookAtReader(tail);
    return dueMs < 0 ? tickMs : Math.min(dueMs, tickMs);
  }

  /** A reader that hears nothing may be connected to a server that is no longer the primary. */
  #lookAtReader(tail: Position): void {
    const at = this.#reader.position;
    if (at === undefined || !isBefore(at, tail)) this.#behind = undefined;
    else if (this.#behind?.at !== at) this.#behind = { at, sinceMs: this.#clock.monotonicMs() };
    else if (this.#clock.monotonicMs() - this.#behind.sinceMs > patienceMs) {
      this.#behind = undefined;
      this.#reader.reconnect();
    }
  }

  async #keepTicking(): Promise<void> {
    if (this.#ticking) return;
    this.#ticking = true;
    let delayMs = 0;
    while (this.#subscriptions.size > 0) {
      // A failure is the business of those who make calls; the store may be back the next time.
      delayMs = await this.#tick().catch(() => tickMs);
      await sleep(this.#clock, delayMs, this.#closed).catch(() => {});
    }
    this.#ticking = false;
  }

  #fail(error: unknown): void {
    for (const { feed } of [...this.#subscriptions]) feed.fail(error);
  }
}
