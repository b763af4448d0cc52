import { type MemoryBackend, MemoryStore, VirtualClock } from "@conclave/backend-memory";
import {
  type Backend,
  type CallOptions,
  type Clock,
  CoordinationError,
  type ErrorCode,
  encode,
  type Lease,
  type Txn,
} from "@conclave/core/backend";

/** A call to the store: which one, its first argument, and its options. */
export interface Call {
  readonly name: "get" | "list" | "commit" | "grant" | "keepAlive" | "revoke" | "watch";
  readonly argument: unknown;
  readonly options: CallOptions | undefined;
}

// biome-ignore lint/suspicious/noExplicitAny: for what is wrong on purpose, and for what stands before calls of every type
export type Any = any;

export type Fault = (call: Call, proceed: () => Promise<Any>) => Promise<Any>;

/** A client that keeps a record of its calls, before which a test puts a fault. */
export class Faulty implements Backend {
  readonly calls: Call[] = [];
  fault: Fault = (_, proceed) => proceed();
  readonly name: string;
  readonly kv: Backend["kv"];
  readonly leases: Backend["leases"];
  readonly watches: Backend["watches"];
  readonly clock: Clock;
  readonly limits: Backend["limits"];
  readonly guarantees: Backend["guarantees"];

  constructor(backend: Backend, clock: Clock = backend.clock) {
    this.name = backend.name;
    this.clock = clock;
    this.limits = backend.limits;
    this.guarantees = backend.guarantees;
    const { kv, leases, watches } = backend;
    this.kv = {
      get: (key, options) => this.#call("get", key, options, () => kv.get(key, options)),
      list: (prefix, options) => this.#call("list", prefix, options, () => kv.list(prefix, options)),
      commit: (txn, options) => this.#call("commit", txn, options, () => kv.commit(txn, options)),
    };
    const wrapped = (lease: Lease): Lease => ({
      ...lease,
      keepAlive: (options) => this.#call("keepAlive", lease.id, options, () => lease.keepAlive(options)),
      revoke: (options) => this.#call("revoke", lease.id, options, () => lease.revoke(options)),
    });
    this.leases = {
      grant: (options) => this.#call("grant", options.ttlMs, options, async () => wrapped(await leases.grant(options))),
    };
    this.watches = {
      watch: (range, options) => this.#call("watch", range, options, () => watches.watch(range, options)),
    };
  }

  count(name: Call["name"]): number {
    return this.calls.filter((call) => call.name === name).length;
  }

  #call<T>(name: Call["name"], argument: unknown, options: CallOptions | undefined, proceed: () => Promise<T>) {
    const call = { name, argument, options };
    this.calls.push(call);
    return this.fault(call, proceed) as Promise<T>;
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** A clock whose timers are late: `stall` moves its hands alone, as a blocked event loop or a stopped process does. */
export class StallingClock implements Clock {
  readonly #inner: VirtualClock;
  #aheadMs = 0;

  constructor(inner: VirtualClock) {
    this.#inner = inner;
  }

  stall(ms: number): void {
    this.#aheadMs += ms;
  }

  monotonicMs(): number {
    return this.#inner.monotonicMs() + this.#aheadMs;
  }
  wallMs(): number {
    return this.#inner.wallMs() + this.#aheadMs;
  }
  after(delayMs: number, callback: () => void): Disposable {
    return this.#inner.after(delayMs, callback);
  }
  random(): number {
    return this.#inner.random();
  }
  id(): string {
    return this.#inner.id();
  }
}

/** A store on a virtual clock, a client whose calls can be made to fail, and one that always works. */
export interface World {
  readonly clock: VirtualClock;
  readonly store: MemoryStore;
  readonly client: MemoryBackend;
  readonly backend: Faulty;
  readonly other: MemoryBackend;
}

export async function world(
  options: { readonly mode?: "strong" | "weak"; readonly seed?: number } = {},
): Promise<World> {
  const clock = new VirtualClock({ seed: options.seed });
  const store = new MemoryStore({ ...options, clock });
  const client = await store.connect();
  return { clock, store, client, backend: new Faulty(client), other: await store.connect() };
}

export function failure(code: ErrorCode): CoordinationError {
  return new CoordinationError(code, `a fault: ${code}`);
}

/** Applies the next calls that match, that many of them, and loses their answers. */
export function losingAnswers(matches: (call: Call) => boolean, times = 1): Fault {
  let left = times;
  return async (call, proceed) => {
    if (!matches(call) || left <= 0) return proceed();
    left -= 1;
    await proceed();
    throw failure("OUTCOME_UNKNOWN");
  };
}

/** Whether a call is a commit that puts something. */
export function puts(call: Call): boolean {
  return call.name === "commit" && (call.argument as Txn).then.some((operation) => "put" in operation);
}

/** Whether a call is a commit that deletes something. */
export function deletes(call: Call): boolean {
  return call.name === "commit" && (call.argument as Txn).then.some((operation) => "delete" in operation);
}

export function put(backend: Backend, key: string, text = "", lease?: Lease): Promise<unknown> {
  return backend.kv.commit({ then: [{ put: key, value: encode(text), lease }] });
}

export function remove(backend: Backend, key: string): Promise<unknown> {
  return backend.kv.commit({ then: [{ delete: key }] });
}

export async function keys(backend: Backend, prefix = ""): Promise<string[]> {
  return (await backend.kv.list(prefix)).entries.map(({ key }) => key);
}

/** What became of a promise so far. */
export function outcome<T>(promise: Promise<T>): { value?: T; error?: unknown; settled: boolean } {
  const seen: { value?: T; error?: unknown; settled: boolean } = { settled: false };
  promise.then(
    (value) => void Object.assign(seen, { value, settled: true }),
    (error: unknown) => void Object.assign(seen, { error, settled: true }),
  );
  return seen;
}

/** A promise, and what settles it. */
export function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: unknown) => void } {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
