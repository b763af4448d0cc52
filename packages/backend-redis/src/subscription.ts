import { type Change, type Revision, WatchFeed, type WatchRange } from "@conclave/core/backend";
import type { PackedChange } from "./changes.ts";
import { decodeEntry } from "./codec.ts";

/** What a reader may leave lying before it is told of a gap instead, about, in bytes. */
const backlogBytes = 16 * 1024 * 1024;
/** What a change costs beyond its value, about, in bytes. */
const changeBytes = 500;

/** One watch: what its reader is to see of the changes that its client hears. */
export class Subscription {
  readonly feed: WatchFeed;
  readonly #range: WatchRange;
  /** What its client had seen when it asked, which is nothing new to it. */
  readonly #since: Revision;
  #pendingBytes = 0;
  #isBehind = false;

  constructor(range: WatchRange, since: Revision, onEnd: () => void) {
    // The caller may go on to change what it passed.
    this.#range = { ...range };
    this.#since = since;
    this.feed = new WatchFeed(onEnd, Number.POSITIVE_INFINITY);
    this.feed.drained = () => {
      this.#pendingBytes = 0;
      if (this.#isBehind) this.feed.push({ gap: true });
      this.#isBehind = false;
    };
  }

  /** Takes what one revision changed, anywhere. */
  hear(revision: Revision, changes: readonly PackedChange[]): void {
    if (this.#isBehind || revision <= this.#since) return;
    const mine = changes.filter(({ key }) => this.#covers(key));
    if (mine.length === 0) return;
    for (const { packed } of mine) this.#pendingBytes += changeBytes + (packed?.length ?? 0);
    // A reader that is behind reads what lies there, and is then told of the gap. One batch alone is never too much.
    this.#isBehind = this.feed.pending > 0 && this.#pendingBytes > backlogBytes;
    if (!this.#isBehind) this.feed.push({ revision, changes: mine.map((change) => decodeChange(revision, change)) });
  }

  /** Something was missed. */
  missed(): void {
    if (!this.#isBehind) this.feed.push({ gap: true });
  }

  #covers(key: string): boolean {
    return "key" in this.#range ? key === this.#range.key : key.startsWith(this.#range.prefix);
  }
}

/** Each reader gets bytes of its own, which it may change. */
function decodeChange(revision: Revision, { key, packed }: PackedChange): Change {
  return { key, modified: revision, entry: packed && decodeEntry(key, packed) };
}
