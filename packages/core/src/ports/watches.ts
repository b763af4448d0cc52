import type { CallOptions, Entry, Revision } from "./kv.ts";

export type WatchRange = { readonly key: string } | { readonly prefix: string };

/** `entry` is the key's new state, with exact revisions, or undefined: at `modified` the key was absent. */
export interface Change {
  readonly key: string;
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
 * created anew between two looks shows its delete first. Lost connections, leader changes and expired credentials are
 * the adapter's to mend. Disposing it ends the iteration; so does closing the backend, with `CLOSED`.
 */
export interface Watch extends AsyncIterable<WatchBatch>, AsyncDisposable {}

export interface Watches {
  /** Resolves once the watch is live: no later change is missed. `signal` ends the watch too, whenever it aborts. */
  watch(range: WatchRange, options?: CallOptions): Promise<Watch>;
}
