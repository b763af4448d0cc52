import {
  type Backend,
  type CallOptions,
  type Commit,
  CoordinationError,
  type ErrorCode,
  type Lease,
  type Txn,
  type Watch,
  WatchFeed,
} from "@conclave/core/backend";

/**
 * The link between one process and its store, which a test can cut and mend. While it is cut calls fail, answers on
 * their way are lost, watches say nothing and leases are not renewed; mended, watches report a gap.
 */
export class Link {
  readonly backend: Backend;
  readonly #inner: Backend;
  readonly #feeds = new Set<WatchFeed>();
  #isCut = false;

  constructor(inner: Backend) {
    this.#inner = inner;
    const read = <T>(call: () => Promise<T>): Promise<T> => this.#call(call, "UNAVAILABLE");
    const write = <T>(call: () => Promise<T>): Promise<T> => this.#call(call, "OUTCOME_UNKNOWN");
    this.backend = {
      ...inner,
      kv: {
        get: (key, options) => read(() => inner.kv.get(key, options)),
        list: (prefix, options) => read(() => inner.kv.list(prefix, options)),
        commit: <const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>> =>
          write(() => inner.kv.commit(txn, options)),
      },
      leases: {
        grant: (options) =>
          write(async () => {
            const lease = await inner.leases.grant(options);
            return {
              ...lease,
              keepAlive: (options?: CallOptions) => write(() => lease.keepAlive(options)),
              revoke: (options?: CallOptions) => write(() => lease.revoke(options)),
            } satisfies Lease;
          }),
      },
      watches: { watch: (range, options) => read(async () => this.#relay(await inner.watches.watch(range, options))) },
    };
  }

  cut(): void {
    this.#isCut = true;
  }

  mend(): void {
    if (!this.#isCut) return;
    this.#isCut = false;
    for (const feed of this.#feeds) feed.push({ gap: true });
  }

  async #call<T>(call: () => Promise<T>, unanswered: ErrorCode): Promise<T> {
    if (this.#isCut) throw new CoordinationError("UNAVAILABLE", `the link to the ${this.#inner.name} store is cut`);
    const answer = await call();
    if (this.#isCut) throw new CoordinationError(unanswered, `the link to the ${this.#inner.name} store was cut`);
    return answer;
  }

  #relay(watch: Watch): Watch {
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
