import { type Change, WatchFeed, type WatchRange } from "@conclave/core/backend";
import type { Ledger } from "./ledger.ts";
import type { Changes } from "./mode.ts";

/** One watch: a place in the ledger's history, and the feed that what came after it is pushed into. */
export class MemoryWatch {
  readonly feed: WatchFeed;
  readonly #ledger: Ledger;
  readonly #range: WatchRange;
  /** The watch has shown, or passed over, every change up to here. */
  #seen: bigint;
  #timer: Disposable | undefined;

  constructor(ledger: Ledger, range: WatchRange, onEnd: () => void) {
    this.#ledger = ledger;
    this.#range = "key" in range ? { key: range.key } : { prefix: range.prefix };
    this.#seen = ledger.revision;
    this.feed = new WatchFeed(() => {
      this.pause();
      onEnd();
    });
  }

  /** Something was committed: shows it, at once or as late as the store's mode has it. */
  hear({ revision, changes }: Changes): void {
    if (this.#timer) return;
    if (!changes.some((change) => this.#covers(change))) {
      this.#seen = revision;
      return;
    }
    const lateMs = this.#ledger.mode.watchLateMs();
    if (lateMs === undefined) this.catchUp();
    else this.#timer = this.#ledger.clock.after(lateMs, () => this.catchUp());
  }

  /** Shows all that was not shown yet, or a gap where the history no longer reaches back to it. */
  catchUp(): void {
    this.pause();
    const missed = this.#ledger.since(this.#seen);
    this.#seen = this.#ledger.revision;
    if (missed === undefined) {
      this.feed.push({ gap: true });
      return;
    }
    const mine = missed.map(({ revision, changes }) => ({ revision, changes: changes.filter((c) => this.#covers(c)) }));
    for (const batch of this.#ledger.mode.batches(mine.filter(({ changes }) => changes.length > 0))) {
      this.feed.push("gap" in batch ? batch : { revision: batch.revision, changes: batch.changes.map(copyOf) });
    }
  }

  /** Shows nothing until it hears of something or catches up. */
  pause(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }

  #covers({ key }: Change): boolean {
    return "key" in this.#range ? key === this.#range.key : key.startsWith(this.#range.prefix);
  }
}

/** Each reader gets bytes of its own, which it may change. */
function copyOf({ key, modified, entry }: Change): Change {
  return { key, modified, entry: entry && { ...entry, value: new Uint8Array(entry.value) } };
}
