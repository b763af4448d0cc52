import { type Clock } from "@conclave/core/backend";
import type { Endpoints } from "./endpoints.ts";
import type { Subscription } from "./subscription.ts";
export interface LaneOptions {
  /** For a watch with a slow reader: the stream itself waits for the reader. */
  readonly pausing: boolean;
  /** Takes over a watch that is too slow for its lane. */
  readonly onBehind: (subscription: Subscription) => void;
}
/**
 * Several watches over one stream, and over its successors: when a stream ends, breaks or falls silent, all are created
 * anew from their cursors.
 */
export declare class WatchLane {
  #private;
  /** Why there is no stream just now. */
  lastFailure: unknown;
  constructor(endpoints: Endpoints, clock: Clock, options: LaneOptions);
  add(subscription: Subscription): void;
  /** Forgets a watch, here and on the server. */
  remove(subscription: Subscription): void;
  close(): void;
}
//# sourceMappingURL=watch-lane.d.ts.map
