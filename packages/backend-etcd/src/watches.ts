import {
  type CallOptions,
  type Clock,
  CoordinationError,
  onAbort,
  type Watch,
  type Watches,
  type WatchRange,
} from "@conclave/core/backend";
import type { Endpoints } from "./endpoints.ts";
import type { Horizon } from "./kv.ts";
import type { Settings } from "./options.ts";
import { Subscription } from "./subscription.ts";
import { WatchLane } from "./watch-lane.ts";

/** Watches of etcd. All share one stream, except that a watch whose reader is slow moves to one of its own. */
export class EtcdWatches implements Watches {
  readonly #endpoints: Endpoints;
  readonly #clock: Clock;
  readonly #callTimeoutMs: number;
  readonly #horizon: Horizon;
  readonly #lanes = new Map<Subscription, WatchLane>();
  readonly #shared: WatchLane;

  constructor(endpoints: Endpoints, settings: Settings, horizon: Horizon) {
    this.#endpoints = endpoints;
    this.#clock = settings.clock;
    this.#callTimeoutMs = settings.callTimeoutMs;
    this.#horizon = horizon;
    this.#shared = new WatchLane(endpoints, this.#clock, {
      own: false,
      onBehind: (subscription) => this.#isolate(subscription),
    });
    endpoints.closed.addEventListener("abort", () => this.#close(endpoints.closed.reason));
  }

  async watch(range: WatchRange, options: CallOptions = {}): Promise<Watch> {
    const { signal, timeoutMs = this.#callTimeoutMs } = options;
    const subscription = new Subscription(range, this.#horizon, () => {
      link[Symbol.dispose]();
      this.#lanes.get(subscription)?.remove(subscription);
      this.#lanes.delete(subscription);
    });
    const link = onAbort(signal, () => subscription.fail(signal?.reason));
    this.#lanes.set(subscription, this.#shared);
    this.#shared.add(subscription);
    using _timer = this.#clock.after(timeoutMs, () => {
      subscription.fail(
        new CoordinationError("UNAVAILABLE", "etcd did not create the watch in time", {
          cause: this.#shared.lastFailure,
        }),
      );
    });
    await subscription.live;
    return subscription.feed;
  }

  /** Goes on with a watch, on a stream of its own, when its reader has taken what lies there. */
  #isolate(subscription: Subscription): void {
    const onBehind = () => this.#isolate(subscription);
    const lane = new WatchLane(this.#endpoints, this.#clock, { own: true, onBehind });
    this.#lanes.set(subscription, lane);
    subscription.feed.drained = () => {
      subscription.feed.drained = undefined;
      lane.add(subscription);
    };
  }

  #close(reason: unknown): void {
    this.#shared.close();
    for (const subscription of [...this.#lanes.keys()]) subscription.fail(reason);
  }
}
