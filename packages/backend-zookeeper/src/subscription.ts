import {
  abortable,
  backoffMs,
  type Change,
  type Clock,
  compareKeys,
  type Entry,
  isCoordinationError,
  type Revision,
  sleep,
  WatchFeed,
  type WatchRange,
} from "@conclave/core/backend";
import { Deadline } from "./deadline.ts";
import type { Layout } from "./layout.ts";
import type { Link } from "./link.ts";
import { type Cut, Mirror } from "./mirror.ts";
import type { Onlooker } from "./sightings.ts";

/** What a subscription stands on. */
export interface SubscriptionOptions {
  readonly link: Link;
  readonly layout: Layout;
  readonly clock: Clock;
  /** How long it tries to look before it tries anew, in milliseconds. */
  readonly callTimeoutMs: number;
  /** Told of keys that have gone. */
  readonly onGone: (key: string) => void;
  readonly onEnd: () => void;
}

/** What a reader may leave lying; until it has taken that, changes are merged into the next cut. */
const mostPending = 8;

/**
 * One watch: a mirror of its range, and what the reader was shown of it. Every time the mirror has settled, the reader is
 * shown how the new cut differs from the last. So nothing is ever missed, whatever became of the connection, and changes
 * that follow each other closely are shown as one.
 */
export class Subscription implements Onlooker {
  readonly feed: WatchFeed;
  readonly range: WatchRange;
  readonly #mirror: Mirror;
  readonly #clock: Clock;
  readonly #callTimeoutMs: number;
  readonly #onGone: (key: string) => void;
  readonly #ended = new AbortController();
  #shown: ReadonlyMap<string, Entry> = new Map();
  /** The revision of that. */
  #revision: Revision = 0n;
  /** Keys that are not in it, but that reads have shown since, and the revisions at which they were there. */
  readonly #sighted = new Map<string, Revision>();
  /** The reader is being shown what is new, or the first cut is being made. */
  #isBusy = true;

  constructor(range: WatchRange, { link, layout, clock, callTimeoutMs, onGone, onEnd }: SubscriptionOptions) {
    this.range = range;
    this.#clock = clock;
    this.#callTimeoutMs = callTimeoutMs;
    this.#onGone = onGone;
    this.#mirror = new Mirror(link, layout, [range], () => this.#wake());
    this.feed = new WatchFeed(() => {
      this.#ended.abort(new Error("the watch has ended"));
      this.#mirror.close();
      onEnd();
    });
  }

  /** Resolves when it is live: what changes from now on will be shown. */
  async open(deadline: Deadline): Promise<void> {
    const { entries, revision } = await this.#mirror.settle(deadline);
    this.#shown = entries;
    this.#revision = revision;
    this.#isBusy = false;
    if (this.#mirror.isStale) this.#wake();
  }

  sees(keys: readonly string[], revision: Revision): boolean {
    const unknown = this.#unknown(keys);
    if (unknown.length > 0 && revision < this.#revision) return false;
    for (const key of unknown) this.#sighted.set(key, revision);
    return true;
  }

  wrote(keys: readonly string[], revision: Revision): void {
    const unknown = this.#unknown(keys);
    for (const key of unknown) this.#sighted.set(key, revision);
    // They have gone already, and nothing else may come that would have it said.
    if (unknown.length > 0 && revision < this.#revision) this.#wake();
  }

  #unknown(keys: readonly string[]): readonly string[] {
    return keys.filter((key) => !this.#shown.has(key));
  }

  #wake(): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    // What else was told in this turn goes into the same cut.
    setImmediate(() => void this.#show());
  }

  async #show(): Promise<void> {
    for (let failures = 0; !this.feed.ended; ) {
      try {
        await this.#taken();
        const cut = await this.#mirror.settle(new Deadline(this.#clock, {}, this.#callTimeoutMs));
        this.#push(cut);
        // What changed while the cut was on its way here called nobody.
        if (this.#mirror.isStale) continue;
        this.#isBusy = false;
        return;
      } catch (error) {
        if (this.feed.ended) return;
        if (!isCoordinationError(error, "UNAVAILABLE")) return this.feed.fail(error);
        failures += 1;
        await sleep(this.#clock, backoffMs(this.#clock, failures), this.#ended.signal).catch(() => {});
      }
    }
  }

  /** Waits while the reader is slow. */
  async #taken(): Promise<void> {
    if (this.feed.pending < mostPending) return;
    const taken = new Promise<void>((resolve) => {
      this.feed.drained = resolve;
    });
    await abortable(taken, this.#ended.signal).catch(() => {});
    this.feed.drained = undefined;
  }

  #push({ entries, revision }: Cut): void {
    const changes: Change[] = [];
    for (const [key, entry] of entries) {
      const old = this.#shown.get(key);
      if (old?.modified === entry.modified) continue;
      if (old && old.created !== entry.created) changes.push({ key, modified: entry.created - 1n, entry: undefined });
      changes.push({ key, modified: entry.modified, entry });
    }
    for (const key of this.#shown.keys()) {
      if (entries.has(key)) continue;
      changes.push({ key, modified: revision, entry: undefined });
      this.#onGone(key);
    }
    for (const [key, seenAt] of this.#sighted) {
      const isThere = entries.has(key);
      if (!isThere && seenAt > revision) continue;
      this.#sighted.delete(key);
      // It came and went between two cuts.
      if (!isThere && !this.#shown.has(key)) changes.push({ key, modified: revision, entry: undefined });
    }
    this.#shown = entries;
    this.#revision = revision;
    changes.sort(byRevision);
    const last = changes.at(-1);
    // Not the cut's own revision: others may have written since, elsewhere.
    if (last) this.feed.push({ revision: last.modified, changes });
  }
}

function byRevision(a: Change, b: Change): number {
  if (a.modified === b.modified) return compareKeys(a.key, b.key);
  return a.modified < b.modified ? -1 : 1;
}
