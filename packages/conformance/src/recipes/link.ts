import { type Backend, CoordinationError, type Watch, WatchFeed } from "@conclave/core/backend";
import { type Call, type Interceptor, intercepted } from "../intercepted.ts";

/**
 * The link between one process and its store, which a test can cut and mend. While it is cut calls fail, answers on
 * their way are lost, watches say nothing and leases are not renewed; mended, watches report a gap.
 */
export class Link implements Interceptor {
  readonly backend: Backend;
  readonly #feeds = new Set<WatchFeed>();
  #isCut = false;

  constructor(backend: Backend) {
    this.backend = intercepted(backend, this);
  }

  cut(): void {
    this.#isCut = true;
  }

  mend(): void {
    if (!this.#isCut) return;
    this.#isCut = false;
    for (const feed of this.#feeds) feed.push({ gap: true });
  }

  async call<T>({ kind, mutates }: Call, send: () => Promise<T>): Promise<T> {
    if (this.#isCut) throw new CoordinationError("UNAVAILABLE", `the link was cut before the ${kind}`);
    const answer = await send();
    if (!this.#isCut) return answer;
    throw new CoordinationError(mutates ? "OUTCOME_UNKNOWN" : "UNAVAILABLE", `the link was cut during the ${kind}`);
  }

  watch(watch: Watch): Watch {
    const feed = new WatchFeed(() => {
      this.#feeds.delete(feed);
      void watch[Symbol.asyncDispose]();
    });
    this.#feeds.add(feed);
    const relay = async () => {
      for await (const batch of watch) if (!this.#isCut) feed.push(batch);
    };
    relay().catch((error: unknown) => feed.fail(error));
    return feed;
  }
}
