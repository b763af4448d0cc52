import {
  type Backend,
  type CallOptions,
  type Commit,
  checked,
  type Lease,
  type Txn,
  type Watch,
} from "@conclave/core/backend";

/** The calls a process makes to its store; each is one round trip. */
export type CallKind = "get" | "list" | "commit" | "grant" | "keepAlive" | "revoke" | "watch";

export interface Call {
  readonly kind: CallKind;
  /** Whether it may change the store. */
  readonly mutates: boolean;
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number | undefined;
}

/** What stands between a process and its store. */
export interface Interceptor {
  /** Sees every call; makes it by `send`, or does not. */
  call<T>(call: Call, send: () => Promise<T>): Promise<T>;
  /** Sees every watch; gives what its reader shall read. */
  watch(watch: Watch, signal: AbortSignal | undefined): Watch;
}

/** A backend whose every call that makes sense goes through an interceptor. */
export function intercepted(backend: Backend, interceptor: Interceptor): Backend {
  const call = <T>(
    kind: CallKind,
    mutates: boolean,
    options: CallOptions | undefined,
    send: () => Promise<T>,
  ): Promise<T> => interceptor.call({ kind, mutates, signal: options?.signal, timeoutMs: options?.timeoutMs }, send);
  const handle = (lease: Lease): Lease => ({
    id: lease.id,
    ttlMs: lease.ttlMs,
    keepAlive: (options) => call("keepAlive", true, options, () => lease.keepAlive(options)),
    revoke: (options) => call("revoke", true, options, () => lease.revoke(options)),
  });
  return checked({
    name: backend.name,
    clock: backend.clock,
    limits: backend.limits,
    guarantees: backend.guarantees,
    kv: {
      get: (key, options) => call("get", false, options, () => backend.kv.get(key, options)),
      list: (prefix, options) => call("list", false, options, () => backend.kv.list(prefix, options)),
      commit: <const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>> =>
        call("commit", writes(txn), options, () => backend.kv.commit(txn, options)),
    },
    leases: {
      grant: (options) => call("grant", true, options, async () => handle(await backend.leases.grant(options))),
    },
    watches: {
      watch: async (range, options) => {
        const watch = await call("watch", false, options, () => backend.watches.watch(range, options));
        return interceptor.watch(watch, options?.signal);
      },
    },
    [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose](),
  });
}

function writes(txn: Txn): boolean {
  return txn.then.some((operation) => "put" in operation || "delete" in operation);
}
