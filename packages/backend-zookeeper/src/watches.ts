import {
  type CallOptions,
  type Clock,
  onAbort,
  type Watch,
  type Watches,
  type WatchRange,
} from "@conclave/core/backend";
import { Deadline } from "./deadline.ts";
import type { Layout } from "./layout.ts";
import type { Link } from "./link.ts";
import type { Settings } from "./options.ts";
import { Subscription } from "./subscription.ts";

/** Watches of ZooKeeper. */
export class ZooKeeperWatches implements Watches {
  readonly #link: Link;
  readonly #layout: Layout;
  readonly #clock: Clock;
  readonly #callTimeoutMs: number;

  constructor(link: Link, layout: Layout, { clock, callTimeoutMs }: Settings) {
    this.#link = link;
    this.#layout = layout;
    this.#clock = clock;
    this.#callTimeoutMs = callTimeoutMs;
  }

  async watch(range: WatchRange, options: CallOptions = {}): Promise<Watch> {
    const { signal } = options;
    const { ended } = this.#link;
    const own: WatchRange = "key" in range ? { key: range.key } : { prefix: range.prefix };
    const subscription = new Subscription(this.#link, this.#layout, own, this.#clock, this.#callTimeoutMs, () => {
      aborted[Symbol.dispose]();
      closed[Symbol.dispose]();
    });
    const { feed } = subscription;
    const aborted = onAbort(signal, () => feed.fail(signal?.reason));
    const closed = onAbort(ended, () => feed.fail(ended.reason));
    try {
      const deadline = new Deadline(this.#clock, options, this.#callTimeoutMs);
      await deadline.within(subscription.open(deadline));
    } catch (error) {
      feed.fail(error);
      throw error;
    }
    return feed;
  }
}
