import type { CallOptions, Clock } from "@conclave/core/backend";

/** What ZooKeeper tells of a node. */
export interface Stat {
  /** The transaction that created it. */
  readonly czxid: bigint;
  /** The one that last wrote its data. */
  readonly mzxid: bigint;
  /** The one that last added or removed a child. */
  readonly pzxid: bigint;
  /** How often its data was written since it was created. */
  readonly version: number;
  /** How often a child was added or removed. */
  readonly cversion: number;
  /** The session it lives with; 0n when with none. */
  readonly ephemeralOwner: bigint;
  readonly numChildren: number;
}

/**
 * One step of a multi. `version` is one that was read, so 1 or more, or absent for "whatever it is": 0 would be sent as
 * "any", and is refused with a `RangeError`.
 */
export type MultiOp =
  | { readonly create: string; readonly data?: Buffer | undefined; readonly ephemeral?: boolean | undefined }
  | { readonly set: string; readonly data: Buffer; readonly version?: number | undefined }
  | { readonly remove: string; readonly version?: number | undefined }
  | { readonly check: string; readonly version?: number | undefined };

/** Why a multi was not applied, of what may be so without a fault. */
export type Refusal = "NO_NODE" | "NODE_EXISTS" | "BAD_VERSION" | "NOT_EMPTY" | "NO_CHILDREN_FOR_EPHEMERALS";

/** What became of a multi: all of it at `zxid`, with the stat of every `set`; or nothing, because of step `index`. */
export type MultiAnswer =
  | { readonly applied: true; readonly zxid: bigint; readonly stats: readonly (Stat | undefined)[] }
  | { readonly applied: false; readonly zxid: bigint; readonly index: number; readonly refusal: Refusal };

/** What was read, and the last transaction that the server had seen by then. */
export type Answer<T> = T & { readonly zxid: bigint };

/**
 * One session with ZooKeeper, over one connection at a time. Reads are tried again, on other servers too, until their
 * deadline, and then reject with `UNAVAILABLE`. A multi is sent at most once: it rejects with `UNAVAILABLE` when it surely
 * was not, and with `OUTCOME_UNKNOWN` when it was and no answer came. After `ended` everything rejects with its reason.
 *
 * A watch given to a read is called at least once when what was read may have changed since; also when the connection was
 * lost, and when the link ended. It is not called again after that; one that is given twice for the same path and kind of
 * read is called once.
 */
export interface Link {
  /** In lower-case hex, as `ephemeralOwner` has it. */
  readonly sessionId: string;
  /** What the server last granted, in milliseconds. */
  readonly timeoutMs: number;
  /** The newest transaction that this link has seen anything of; servers that are behind it are left alone. */
  readonly zxid: bigint;
  /** Aborts when the session is found to have expired (`LEASE_LOST`) or was closed (`CLOSED`). */
  readonly ended: AbortSignal;
  /** Names and stat of a node, undefined when there is none. The watch hears of children come and gone, and of its end. */
  children(
    path: string,
    watch?: () => void,
    call?: CallOptions,
  ): Promise<Answer<{ names: readonly string[]; stat: Stat }> | undefined>;
  /** Data and stat of a node, undefined when there is none; then a watch is not set. */
  data(path: string, watch?: () => void, call?: CallOptions): Promise<Answer<{ data: Buffer; stat: Stat }> | undefined>;
  /** The stat of a node; the watch hears of its creation, its writes and its end. */
  exists(path: string, watch?: () => void, call?: CallOptions): Promise<Answer<{ stat: Stat | undefined }>>;
  /** Does all of it in one transaction, or nothing. */
  multi(ops: readonly MultiOp[], call?: CallOptions): Promise<MultiAnswer>;
  /** Ends the session, and with it its nodes, in one transaction. Rejects as a multi does, but not of one that is gone. */
  close(call?: CallOptions): Promise<void>;
  /** Leaves the session to expire: ends the connection and the link, with this reason. */
  abandon(reason: Error): void;
}

/** How to open a link. */
export interface LinkOptions {
  /** `host:port` of each server. */
  readonly servers: readonly string[];
  /** The session timeout to ask for, in milliseconds. */
  readonly sessionTimeoutMs: number;
  /** `user:password` for the digest scheme; nodes are then created for that user alone, and otherwise for everybody. */
  readonly auth?: string | undefined;
  readonly clock: Clock;
  /** Deadline of a call that sets none, in milliseconds. */
  readonly callTimeoutMs: number;
  /** Whether the link itself keeps its session alive, and connected; the session of a lease lives by its renewals. */
  readonly lasting: boolean;
}

/** Opens a session. Rejects as a write does, with `DENIED` for credentials that the server does not take. */
export async function openLink(_options: LinkOptions, _call?: CallOptions): Promise<Link> {
  throw new Error("not yet");
}
