import { type Revision, WatchFeed, type WatchRange } from "@conclave/core/backend";
import type { IEvent, IWatchCreateRequest } from "etcd3";
import type { Horizon } from "./kv.ts";
/**
 * One watch: how far it has got, whatever streams served it. Its cursor moves only with what was handed to the reader:
 * the revision in a header is that of the store, which on a watch that catches up is far ahead of the events.
 */
export declare class Subscription {
  #private;
  readonly feed: WatchFeed;
  /** Resolves when the server first watches. */
  readonly live: Promise<void>;
  /** Refusals in a row, for whatever reason might pass. */
  refusals: number;
  constructor(range: WatchRange, horizon: Horizon, onEnd: () => void);
  /** Whether the reader has left more lying than it should. */
  get isBehind(): boolean;
  request(): IWatchCreateRequest;
  /** The server watches, from the cursor, or from just after `revision` if there was none. */
  created(revision: Revision): void;
  /** The server has forgotten what comes next: the next `request` starts from now. */
  compacted(): void;
  /** Everything up to and including `revision` has been handed over. */
  progressed(revision: Revision): void;
  /** Takes the events of a response, or of one fragment of it, in order of revision. */
  take(events: readonly IEvent[], moreFollows: boolean): void;
  fail(error: unknown): void;
}
//# sourceMappingURL=subscription.d.ts.map
