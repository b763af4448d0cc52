import {
  callOptions,
  checkKey,
  checkMs,
  checkOptions,
  checkPrefix,
  checkSelection,
  checkTxn,
  selectionOptions,
  wrongType,
} from "./arguments.ts";
import { CoordinationError } from "./errors.ts";
import type { Backend, Guarantees, Limits } from "./ports/backend.ts";
import type { Clock } from "./ports/clock.ts";
import type { CallOptions, Commit, Entry, KV, Listing, ListOptions, Txn } from "./ports/kv.ts";
import type { GrantOptions, Lease, Leases } from "./ports/leases.ts";
import type { Watch, Watches, WatchRange } from "./ports/watches.ts";

/**
 * Stands before every adapter, so that an adapter sees only arguments that make sense, no call on an aborted signal or
 * after close, and one dispose. Bad arguments reject with `TypeError` or `RangeError`, calls after close with `CLOSED`.
 */
export function checked(adapter: Backend): Backend {
  return new CheckedBackend(adapter);
}

class CheckedBackend implements Backend {
  readonly name: string;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly guarantees: Guarantees;
  readonly kv: KV;
  readonly leases: Leases;
  readonly watches: Watches;
  readonly #adapter: Backend;
  #closing: Promise<void> | undefined;

  constructor(adapter: Backend) {
    this.#adapter = adapter;
    const { name, clock, limits, guarantees } = adapter;
    this.name = name;
    this.clock = clock;
    this.limits = limits;
    this.guarantees = guarantees;
    this.kv = {
      get: async (key: string, options?: CallOptions): Promise<Entry | undefined> => {
        checkKey("key", key, limits);
        this.#admit("get", options, callOptions);
        return adapter.kv.get(key, options);
      },
      list: async (prefix: string, options?: ListOptions): Promise<Listing> => {
        checkPrefix("prefix", prefix, limits);
        this.#admit("list", options, [...callOptions, ...selectionOptions]);
        if (options) checkSelection("list", options);
        return adapter.kv.list(prefix, options);
      },
      commit: async <const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>> => {
        checkTxn(txn, limits);
        this.#admit("commit", options, callOptions);
        return adapter.kv.commit(txn, options);
      },
    };
    this.leases = {
      grant: async (options: GrantOptions): Promise<Lease> => {
        this.#admit("grant", options, ["ttlMs", ...callOptions]);
        checkMs("ttlMs", options?.ttlMs, limits.maxTtlMs);
        return this.#lease(await adapter.leases.grant(options));
      },
    };
    this.watches = {
      watch: async (range: WatchRange, options?: CallOptions): Promise<Watch> => {
        if (typeof range !== "object" || range === null) throw wrongType("range", range, "a key or a prefix");
        checkOptions("a watch's range", range, ["key", "prefix"]);
        if ("prefix" in range && "key" in range) throw new TypeError("range must be a key or a prefix, not both");
        if ("prefix" in range) checkPrefix("prefix", range.prefix, limits);
        else checkKey("key", range.key, limits);
        this.#admit("watch", options, callOptions);
        return adapter.watches.watch(range, options);
      },
    };
  }

  #lease(lease: Lease): Lease {
    return {
      id: lease.id,
      ttlMs: lease.ttlMs,
      keepAlive: async (options) => {
        this.#admit("keepAlive", options, callOptions);
        return lease.keepAlive(options);
      },
      revoke: async (options) => {
        this.#admit("revoke", options, callOptions);
        return lease.revoke(options);
      },
    };
  }

  #admit(call: string, options: CallOptions | undefined, allowed: readonly string[]): void {
    checkOptions(call, options, allowed);
    if (this.#closing)
      throw new CoordinationError("CLOSED", `${call} was called after the ${this.name} backend was closed`);
    options?.signal?.throwIfAborted();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= Promise.resolve(this.#adapter[Symbol.asyncDispose]());
    return this.#closing;
  }
}
