import type { Lease } from "./leases.ts";

/** A point in a store's history: a larger one happened later. It doubles as a fencing token. */
export type Revision = bigint;

/**
 * What every call takes. An aborted read, wait or watch rejects at once with `signal.reason`. An aborted write rejects
 * only while it is surely unsent: once sent it settles with the store's answer, so that whoever cleans up after it never
 * races with it.
 */
export interface CallOptions {
  /** Gives the call up: see above. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Deadline of this one call in milliseconds; the backend's own default when absent. Past it a read rejects with
   * `UNAVAILABLE`, and a write that was sent with `OUTCOME_UNKNOWN`.
   */
  readonly timeoutMs?: number | undefined;
}

/** A key as the store holds it. */
export interface Entry {
  readonly key: string;
  /** Yours to change: no other reader sees it. Empty where `keysOnly` was asked for. */
  readonly value: Uint8Array;
  /** When this incarnation of the key was created. Deleting and re-creating the key gives it a new one. */
  readonly created: Revision;
  /** When the value was last written. */
  readonly modified: Revision;
  /** The id of the lease the key lives on, if any. */
  readonly lease: string | undefined;
}

/** Which entries a list gives, and in which order. */
export interface Selection {
  /** By key bytes (the default), or by creation, oldest or newest first; either way, those of one revision go by key. */
  readonly order?: "key" | "oldest" | "newest" | undefined;
  /** At most so many, 1 or more; all of them when absent. */
  readonly limit?: number | undefined;
  /** Only entries created at a smaller revision. */
  readonly createdBefore?: Revision | undefined;
  /** Only keys after this one; for paging, with order "key". */
  readonly startAfter?: string | undefined;
  /** Leaves every `value` empty. */
  readonly keysOnly?: boolean | undefined;
}

/** What `KV.list` takes: how to call, and what to give. */
export interface ListOptions extends CallOptions, Selection {}

/** One consistent cut of a prefix: all of it as it was at one revision. */
export interface Listing {
  readonly entries: readonly Entry[];
  /** The revision of the cut: what it does not show is written at a larger one. */
  readonly revision: Revision;
  /** Whether `limit` left entries out. */
  readonly more: boolean;
}

/**
 * What must be true, atomically, for a transaction's `then` to be applied. A condition on a revision does not hold for a
 * key that is absent, whatever the revision. `noneModifiedAfter` holds for a prefix while every entry there is of that
 * revision or an earlier one, so also while there is none: it tells what was put since, not what was deleted.
 */
export type Condition =
  | { readonly key: string; readonly exists: boolean }
  | { readonly key: string; readonly created: Revision }
  | { readonly key: string; readonly modified: Revision }
  | { readonly prefix: string; readonly empty: true }
  | { readonly prefix: string; readonly noneModifiedAfter: Revision };

/** Writes a key, on a lease that this client was granted. Without a lease the key comes off the lease it was on. */
export interface Put {
  readonly put: string;
  readonly value: Uint8Array;
  readonly lease?: Lease | undefined;
}
/** Removes a key; its result says whether there was one. */
export interface Delete {
  readonly delete: string;
}
/** Reads a key; its result is the entry, or undefined. */
export interface Get {
  readonly get: string;
}
/** Reads what is under a prefix, "" for everything; its result is a `Listing`. */
export interface List extends Selection {
  readonly list: string;
}
/** What a transaction may do whether its conditions hold or not. */
export type Read = Get | List;
/** What a transaction may do when its conditions hold. */
export type Operation = Put | Delete | Read;

/**
 * Conditions and the chosen branch are one atomic step. All writes share one revision, larger than that of every earlier
 * commit that touches the same keys or prefixes. A key is written at most once, and at most one lease is attached; when
 * that lease is dead, and the conditions hold, nothing is applied and the commit rejects with `LEASE_LOST`. Reads see all
 * of the transaction's own writes, wherever they stand in `then`; where nothing is written they are of the moment at which
 * the conditions were decided.
 */
export interface Txn {
  /** All must hold; with none, `then` is applied. */
  readonly if?: readonly Condition[] | undefined;
  /** Done when every condition holds. */
  readonly then: readonly Operation[];
  /** Read when one does not. */
  readonly else?: readonly Read[] | undefined;
}

/** What one operation gives: nothing for a put, whether a key went for a delete, what was read for a read. */
export type ResultOf<O> = O extends Put
  ? undefined
  : O extends Delete
    ? boolean
    : O extends Get
      ? Entry | undefined
      : O extends List
        ? Listing
        : never;

/** The results of a branch, one for each of its operations; none of a branch that is absent. */
export type ResultsOf<Operations> = Operations extends readonly unknown[]
  ? { readonly [Index in keyof Operations]: ResultOf<Operations[Index]> }
  : readonly [];

interface Committed<Succeeded extends boolean, Operations> {
  /** Whether every condition held, so that `then` was applied; otherwise these are the results of `else`. */
  readonly succeeded: Succeeded;
  /** The revision of the writes; of the reads when nothing was written. */
  readonly revision: Revision;
  /** The revision the reads saw: `revision`, or later on stores that read after they wrote. */
  readonly readAt: Revision;
  /** One result for each operation of the branch, in order. */
  readonly results: ResultsOf<Operations>;
}

/** What became of a transaction. That a condition failed is no error: it is `succeeded: false`. */
export type Commit<T extends Txn = Txn> = Committed<true, T["then"]> | Committed<false, T["else"]>;

/**
 * Keys and values. `get` and `list` are linearizable where the store can be, and on every store they never show a state
 * older than one that this client has seen: its own writes, its reads, its watches. A mutation ends as done, not done
 * (`UNAVAILABLE`), or `OUTCOME_UNKNOWN`; an adapter never repeats one that may have been applied.
 *
 * Every method rejects with `TypeError` or `RangeError` for arguments beyond `limits`, `signal.reason` when that aborts,
 * `UNAVAILABLE` when the store does not answer by the deadline, `LIMIT` when it has no room, `DENIED` when it does not
 * allow it, and `CLOSED` after the client was closed.
 */
export interface KV {
  /** The entry of a key; undefined when there is none. */
  get(key: string, options?: CallOptions): Promise<Entry | undefined>;
  /** What is under a prefix, "" for everything, in one consistent cut however much it is. */
  list(prefix: string, options?: ListOptions): Promise<Listing>;
  /** Decides and applies a transaction. Rejects also with `OUTCOME_UNKNOWN`, and with `LEASE_LOST` for a dead lease. */
  commit<const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>>;
}
