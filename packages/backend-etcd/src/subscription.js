import { WatchFeed } from "@conclave/core/backend";
import { decodeChange, keyRange, prefixRange } from "./codec.js";

/** What a reader may leave lying before it counts as slow, in bytes. */
const backlogBytes = 256 * 1024;
/**
 * One watch: how far it has got, whatever streams served it. Its cursor moves only with what was handed to the reader:
 * the revision in a header is that of the store, which on a watch that catches up is far ahead of the events.
 */
export class Subscription {
  feed;
  /** Resolves when the server first watches. */
  live;
  /** Refusals in a row, for whatever reason might pass. */
  refusals = 0;
  #range;
  #horizon;
  #settle;
  /** The first revision not handed over yet; 0 for "from now". */
  #next = 0n;
  /** What was missed is lost: the reader must look again, but not before we watch anew. */
  #owesGap = false;
  /** Events of the newest revision of a response in fragments: more of that revision may follow. */
  #held = [];
  #pendingBytes = 0;
  constructor(range, horizon, onEnd) {
    this.#range = range;
    this.#horizon = horizon;
    // A slow reader is stopped on the way, by `isBehind`, rather than made to look again.
    this.feed = new WatchFeed(onEnd, Number.POSITIVE_INFINITY);
    this.live = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.live.catch(() => {});
  }
  /** Whether the reader has left more lying than it should. */
  get isBehind() {
    return this.feed.pending > 0 && this.#pendingBytes > backlogBytes;
  }
  request() {
    this.#held = [];
    return {
      ...("key" in this.#range ? keyRange(this.#range.key) : prefixRange(this.#range.prefix)),
      start_revision: String(this.#next),
      // Moves the cursor of an idle watch on, so that compaction does not overtake it.
      progress_notify: true,
      fragment: true,
    };
  }
  /** The server watches, from the cursor, or from just after `revision` if there was none. */
  created(revision) {
    if (this.#next === 0n) this.#next = revision + 1n;
    if (this.#owesGap) this.feed.push({ gap: true });
    this.#owesGap = false;
    this.refusals = 0;
    this.#settle.resolve();
  }
  /** The server has forgotten what comes next: the next `request` starts from now. */
  compacted() {
    this.#next = 0n;
    this.#owesGap = true;
  }
  /** Everything up to and including `revision` has been handed over. */
  progressed(revision) {
    if (this.#held.length === 0 && revision >= this.#next) this.#next = revision + 1n;
  }
  /** Takes the events of a response, or of one fragment of it, in order of revision. */
  take(events, moreFollows) {
    for (const event of events) {
      if (this.#held.length > 0 && this.#held[0]?.kv.mod_revision !== event.kv.mod_revision) this.#hand();
      // Servers with known bugs repeat themselves or go back in time.
      if (BigInt(event.kv.mod_revision) >= this.#next) this.#held.push(event);
    }
    if (!moreFollows) this.#hand();
  }
  fail(error) {
    this.#settle.reject(error);
    this.feed.fail(error);
  }
  /** Hands over what is held: all that one revision changed. */
  #hand() {
    const changes = this.#held.map(decodeChange);
    const revision = changes[0]?.modified;
    if (revision === undefined) return;
    if (this.feed.pending === 0) this.#pendingBytes = 0;
    for (const { kv } of this.#held) this.#pendingBytes += 100 + kv.key.length + kv.value.length;
    this.#held = [];
    this.#next = revision + 1n;
    if (revision > this.#horizon.seen) this.#horizon.seen = revision;
    this.feed.push({ revision, changes });
  }
}
//# sourceMappingURL=subscription.js.map
