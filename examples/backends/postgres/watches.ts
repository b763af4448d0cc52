import {
  type CallOptions,
  isCoordinationError,
  linkSignals,
  onAbort,
  sleep,
  type Watches,
  WatchFeed,
  type WatchRange,
} from "@conclave/core/backend";
import type { Calls } from "./calls.ts";
import { decodeEntry, type EncodedEntry } from "./codec.ts";

/** How often to look where no notification comes, in milliseconds. Leases are ended then, too. */
const tickMs = 250;

interface News {
  readonly revision: number;
  readonly gap: boolean | null;
  readonly batches: readonly { readonly revision: number; readonly changes: readonly EncodedChange[] }[];
}
type EncodedChange = Readonly<{ key: string; entry: EncodedEntry | null }>;

/**
 * All watches of a client, fed by one reader of the table of changes. It looks at every tick, and at once when a
 * notification rings; a notification may get lost, so nothing but speed depends on them.
 */
export function watches(calls: Calls): Watches {
  const { clock, schema } = calls.settings;
  const closing = calls.closing.signal;
  const feeds = new Map<WatchFeed, { readonly range: WatchRange; from: number }>();
  /** What was passed on to all; -1 before the reader started. */
  let seen = -1;
  let bell = new AbortController();

  async function watch(range: WatchRange, options: CallOptions = {}): Promise<WatchFeed> {
    const { revision } = await calls.ask<News>("read", "select news($1)", [null], options);
    const ending = linkSignals(options.signal, closing);
    ending.signal.throwIfAborted();
    const feed = new WatchFeed(() => {
      feeds.delete(feed);
      ending[Symbol.dispose]();
    });
    onAbort(ending.signal, () => feed.fail(ending.signal.reason));
    if (seen < 0) for (const loop of [read(), listen()]) loop.catch(() => {});
    if (feeds.size === 0) seen = revision;
    // The reader may be ahead of us by now, but only by what was committed before this watch is there.
    feeds.set(feed, { range: { ...range }, from: Math.max(revision, seen) });
    return feed;
  }

  // #region read
  async function read(): Promise<void> {
    while (!closing.aborted) {
      bell = new AbortController();
      try {
        if (feeds.size > 0) pass(await calls.ask("read", "select news($1)", [seen]));
      } catch (error) {
        // Anything else may pass, and what was missed meanwhile is in the next news, or a gap is.
        if (isCoordinationError(error, "DENIED")) for (const feed of feeds.keys()) feed.fail(error);
      }
      using either = linkSignals(bell.signal, closing);
      await sleep(clock, tickMs, either.signal).catch(() => {});
    }
  }
  // #endregion

  function pass({ revision, gap, batches }: News): void {
    seen = revision;
    for (const [feed, watched] of feeds) {
      const { range } = watched;
      const covers = (key: string) => ("key" in range ? key === range.key : key.startsWith(range.prefix));
      if (gap) watched.from = revision;
      if (gap) feed.push({ gap });
      for (const batch of gap ? [] : batches.filter((each) => each.revision > watched.from)) {
        const modified = BigInt(batch.revision);
        const changes = batch.changes
          .filter(({ key }) => covers(key))
          .map(({ key, entry }) => ({ key, modified, entry: entry ? decodeEntry(entry) : undefined }));
        if (changes.length > 0) feed.push({ revision: modified, changes });
      }
    }
  }

  /** Hears of changes, as long as this client lives, on a connection of its own. */
  async function listen(): Promise<void> {
    while (!closing.aborted) {
      const connection = await calls.connect(closing).catch(() => undefined);
      connection?.on("notification", () => bell.abort());
      const ended = new Promise((resolve) => connection?.once("end", resolve));
      if (await connection?.query(`listen ${schema}`).catch(() => undefined)) await ended;
      connection?.release(true);
      await sleep(clock, tickMs, closing);
    }
  }

  return { watch };
}
