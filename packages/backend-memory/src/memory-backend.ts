import {
  type Backend,
  type CallOptions,
  type Clock,
  type Commit,
  CoordinationError,
  checked,
  type Entry,
  type GrantOptions,
  type Guarantees,
  type KV,
  type Lease,
  type Leases,
  type Limits,
  type Listing,
  type ListOptions,
  type Operation,
  portableLimits,
  type Txn,
  type Watches,
  type WatchRange,
} from "@conclave/core/backend";
import type { Ledger } from "./ledger.ts";
import { MemoryWatch } from "./memory-watch.ts";

/** One client of a memory store, which a test can cut off from it. */
export interface MemoryBackend extends Backend {
  /**
   * Cuts this client off, as a partition or a frozen process would: its calls fail with `UNAVAILABLE` and change nothing,
   * its watches fall silent, its leases run out.
   */
  disconnect(): void;
  /** Ends that: calls work again, and watches show what they missed, or a gap where the store no longer knows it. */
  reconnect(): void;
}

/** Makes a new client of the store. */
export function openClient(ledger: Ledger): MemoryBackend {
  const client = new Client(ledger);
  return Object.assign(checked(client), {
    disconnect: () => client.disconnect(),
    reconnect: () => client.reconnect(),
  });
}

class Client implements Backend {
  readonly name: string;
  readonly kv: KV;
  readonly leases: Leases;
  readonly watches: Watches;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly guarantees: Guarantees;
  readonly #ledger: Ledger;
  readonly #watches = new Set<MemoryWatch>();
  /** Held while connected. */
  #link: Disposable | undefined;
  #closed = false;

  constructor(ledger: Ledger) {
    const { clock, mode } = ledger;
    this.#ledger = ledger;
    this.name = mode.name;
    this.clock = clock;
    this.guarantees = mode.guarantees;
    this.limits = { ...portableLimits, minTtlMs: mode.grantedMs(1), maxTtlMs: 24 * 60 * 60 * 1_000 };
    this.kv = {
      get: (key: string, options?: CallOptions): Promise<Entry | undefined> =>
        this.#call(options, () => ledger.get(key)),
      list: (prefix: string, options?: ListOptions): Promise<Listing> =>
        this.#call(options, () => ledger.list({ ...options, list: prefix })),
      commit: <const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>> => {
        const own = copyOf(txn);
        return this.#call(options, () => this.#commit(own)) as Promise<Commit<T>>;
      },
    };
    this.leases = {
      grant: ({ ttlMs, ...options }: GrantOptions): Promise<Lease> =>
        this.#call(options, () => this.#handle(ledger.grant(ttlMs, this))),
    };
    this.watches = {
      watch: (range: WatchRange, options?: CallOptions) => this.#call(options, () => this.#watch(range, options)),
    };
    this.reconnect();
  }

  disconnect(): void {
    this.#link?.[Symbol.dispose]();
    this.#link = undefined;
    for (const watch of this.#watches) watch.pause();
  }

  reconnect(): void {
    if (this.#closed || this.#link) return;
    this.#link = this.#ledger.listen((changes) => {
      for (const watch of this.#watches) watch.hear(changes);
    });
    for (const watch of this.#watches) watch.catchUp();
  }

  /** As when a process ends: its leases are left to expire. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.disconnect();
    for (const watch of this.#watches) watch.feed.fail(this.#closedError());
  }

  /** Every call takes effect a moment after it is made, in one step, and is answered a moment later. */
  async #call<T>(options: CallOptions | undefined, step: () => T | Promise<T>): Promise<T> {
    await this.#ledger.givenWay();
    options?.signal?.throwIfAborted();
    if (this.#closed) throw this.#closedError();
    if (!this.#link)
      throw new CoordinationError("UNAVAILABLE", `this client of the ${this.name} store is disconnected`);
    this.#ledger.reap();
    return step();
  }

  async #commit(txn: Txn): Promise<unknown> {
    const applied = this.#ledger.apply(txn, this);
    const turns = applied.revision === undefined ? 0 : this.#ledger.mode.turnsBeforeReads();
    for (let turn = 0; turn < turns; turn += 1) await undefined;
    return this.#ledger.answer(applied);
  }

  #handle({ id, ttlMs }: { readonly id: string; readonly ttlMs: number }): Lease {
    return {
      id,
      ttlMs,
      keepAlive: (options) => this.#call(options, () => this.#ledger.keepAlive(id)),
      revoke: (options) => this.#call(options, () => this.#ledger.revoke(id)),
    };
  }

  #watch(range: WatchRange, options: CallOptions | undefined): MemoryWatch["feed"] {
    const signal = options?.signal;
    const end = () => watch.feed.fail(signal?.reason);
    const watch = new MemoryWatch(this.#ledger, range, () => {
      this.#watches.delete(watch);
      signal?.removeEventListener("abort", end);
    });
    this.#watches.add(watch);
    signal?.addEventListener("abort", end);
    return watch.feed;
  }

  #closedError(): CoordinationError {
    return new CoordinationError("CLOSED", `this client of the ${this.name} store was closed`);
  }
}

/** The caller may go on to change what it passed. */
function copyOf(txn: Txn): Txn {
  const own = (operation: Operation): Operation =>
    "put" in operation ? { ...operation, value: new Uint8Array(operation.value) } : operation;
  return { ...txn, then: txn.then.map(own) };
}
