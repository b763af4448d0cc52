import type { CallOptions, Entry, Revision } from "./kv.ts";

/** What to watch: one key, or all that is under a prefix ("" for everything). */
export type WatchRange = { readonly key: string } | { readonly prefix: string };

/** What became of a key: `entry` is its new state, with exact revisions, or undefined when it is gone. */
export interface Change {
  readonly key: string;
  /** When it was written; of a key that is gone, a revision at which it was absent. */
  readonly modified: Revision;
  readonly entry: Entry | undefined;
}

/**
 * What one revision changed in the range, in one batch; or a gap: the adapter cannot prove that it saw everything since
 * the last batch, so look again. After a gap the watch is live, and nothing later is missed.
 */
export type WatchBatch = { readonly revision: Revision; readonly changes: readonly Change[] } | { readonly gap: true };

/**
 * Batches in revision order, for one reader. Several changes of one key may arrive as its latest, but a key deleted and
 * created anew between two looks shows its delete first, and of one that came and went it is told that it is gone if any
 * read or write of this client may have shown it. Lost connections, leader changes and expired credentials are
 * the adapter's to mend. Disposing it ends the iteration; so does closing the backend, with `CLOSED`.
 */
export interface Watch extends AsyncIterable<WatchBatch>, AsyncDisposable {}

/** How to hear of changes. */
export interface Watches {
  /** Resolves once the watch is live: no later change is missed. `signal` ends the watch too, whenever it aborts. */
  watch(range: WatchRange, options?: CallOptions): Promise<Watch>;
}
