import { type CallOptions, onAbort, type Watch, type Watches, type WatchRange } from "@conclave/core/backend";
import { Deadline } from "./deadline.ts";
import type { Sightings } from "./sightings.ts";
import { Subscription, type SubscriptionOptions } from "./subscription.ts";

/** Watches of ZooKeeper. */
export class ZooKeeperWatches implements Watches {
  readonly #options: Omit<SubscriptionOptions, "onEnd">;
  readonly #sightings: Sightings;

  constructor(options: Omit<SubscriptionOptions, "onEnd">, sightings: Sightings) {
    this.#options = options;
    this.#sightings = sightings;
  }

  async watch(range: WatchRange, options: CallOptions = {}): Promise<Watch> {
    const { signal } = options;
    const { clock, callTimeoutMs } = this.#options;
    const { ended } = this.#options.link;
    const own: WatchRange = "key" in range ? { key: range.key } : { prefix: range.prefix };
    const subscription = new Subscription(own, {
      ...this.#options,
      onEnd: () => {
        this.#sightings.remove(subscription);
        aborted[Symbol.dispose]();
        closed[Symbol.dispose]();
      },
    });
    this.#sightings.add(subscription);
    const { feed } = subscription;
    const aborted = onAbort(signal, () => feed.fail(signal?.reason));
    const closed = onAbort(ended, () => feed.fail(ended.reason));
    try {
      const deadline = new Deadline(clock, options, callTimeoutMs);
      await deadline.within(subscription.open(deadline));
    } catch (error) {
      feed.fail(error);
      throw error;
    }
    return feed;
  }
}
