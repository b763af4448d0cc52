import { checkContent, checkFunction, checkMs, checkName, checkOptions, checkPrefix, wrongType } from "./arguments.ts";
import { byteLength } from "./bytes.ts";
import type { Context, Name, WaitOptions } from "./context.ts";
import { CoordinationError } from "./errors.ts";
import type { Json } from "./json.ts";
import type { Backend, Connector } from "./ports/backend.ts";
import type { CallOptions, KV } from "./ports/kv.ts";
import { Receipts } from "./receipts.ts";
import { Barrier } from "./recipes/barriers/barrier.ts";
import { DoubleBarrier, type DoubleBarrierOptions } from "./recipes/barriers/double-barrier.ts";
import { Latch, type LatchOptions } from "./recipes/barriers/latch.ts";
import { Config, type ConfigOptions } from "./recipes/config/config.ts";
import type { ConfigDefaults, ConfigSchemas } from "./recipes/config/setting.ts";
import { Service } from "./recipes/discovery/service.ts";
import { Election } from "./recipes/election.ts";
import { Membership } from "./recipes/groups/membership.ts";
import { Partitioner, type PartitionerOptions } from "./recipes/groups/partitioner.ts";
import { MultiMutex } from "./recipes/locks/multi-mutex.ts";
import { Mutex, type MutexOptions } from "./recipes/locks/mutex.ts";
import { RwLock } from "./recipes/locks/rw-lock.ts";
import { Semaphore, type SemaphoreOptions } from "./recipes/locks/semaphore.ts";
import { DestructiveQueue } from "./recipes/queue/destructive-queue.ts";
import { Queue, type QueueOptions } from "./recipes/queue/queue.ts";
import { Topic, type TopicOptions } from "./recipes/topic/topic.ts";
import { Atomic } from "./recipes/values/atomic.ts";
import { Counter } from "./recipes/values/counter.ts";
import { Ids, type IdsOptions } from "./recipes/values/ids.ts";
import { type Transaction, type TransactOptions, transact } from "./recipes/values/transaction.ts";
import { Replica } from "./replica.ts";
import { scoped } from "./scoped.ts";
import type { LiveSession } from "./session.ts";
import { Sessions } from "./sessions.ts";
import { type Recipe, weakenedOn } from "./weakened.ts";

/** How a process takes part. `signal` and `timeoutMs` are for connecting alone, and end nothing afterwards. */
export interface ConnectOptions extends CallOptions {
  /**
   * Everything is kept below it, raw prefixes too; programs that coordinate use the same one. At most 200 bytes; none by
   * default. Names of namespaces are paths: do not use one that begins with another and a "/".
   */
  readonly namespace?: string | undefined;
  /**
   * Time to live of the session in milliseconds, 10,000 by default: how long what a dead process held stays held. The
   * store may grant more (etcd grants whole seconds, and at least about two), and never less.
   */
  readonly ttlMs?: number | undefined;
  /** What this process calls itself in the keys it holds, for people who look at a queue; "" by default. */
  readonly owner?: string | undefined;
  /**
   * Told what an operator should know, in a sentence: a lost session, a server with known bugs, and, where a failover of
   * the store may lose what it had acknowledged (`backend.guarantees.mayForget`), what that does to each recipe, when a
   * program first asks for one. Nothing is ever printed; what it throws is ignored.
   */
  readonly onWarning?: ((warning: string) => void) | undefined;
}

/**
 * Connects a process to a store. A connector's client is closed with the conclave; a backend you opened yourself stays
 * yours. No lease is taken yet: the session opens when something first needs it.
 *
 * Rejects with `UNAVAILABLE` when the store cannot be reached within the connect deadline, `DENIED` for wrong
 * credentials, `UNSUPPORTED` for a server too old, `signal.reason` when that aborts, and `TypeError` or `RangeError` for
 * options that cannot be meant.
 */
export async function connect(store: Connector | Backend, options: ConnectOptions = {}): Promise<Conclave> {
  checkOptions("connect", options, ["namespace", "ttlMs", "owner", "onWarning", "signal", "timeoutMs"]);
  const { namespace, ttlMs = 10_000, owner = "", onWarning = () => {}, signal, timeoutMs } = options;
  if (namespace !== undefined) checkNamespace(namespace);
  checkMs("ttlMs", ttlMs);
  checkContent("owner", owner);
  checkFunction("onWarning", onWarning);
  if (typeof store !== "object" || store === null || !("connect" in store || "kv" in store))
    throw wrongType("store", store, "a connector or a backend");
  signal?.throwIfAborted();
  const owned = "connect" in store ? await store.connect({ signal, timeoutMs, onWarning }) : undefined;
  try {
    const backend = owned ?? (store as Backend);
    checkMs("ttlMs", ttlMs, backend.limits.maxTtlMs);
    const prefix = namespace === undefined ? "" : `${namespace}/`;
    return new Conclave(backend, { prefix, ttlMs, owner, onWarning, owned });
  } catch (error) {
    await owned?.[Symbol.asyncDispose]();
    throw error;
  }
}

/** How much of a key's 512 bytes a namespace may take. */
const maxNamespaceBytes = 200;

function checkNamespace(namespace: unknown): void {
  checkName("namespace", namespace);
  const bytes = byteLength(namespace);
  if (bytes > maxNamespaceBytes)
    throw new RangeError(`namespace must be at most ${maxNamespaceBytes} bytes of UTF-8, not ${bytes}`);
}

/**
 * One process's access to everything that its namespace coordinates. Made by `connect`; close it when done. It outlives
 * outages and lost sessions: what was held is then lost, and what is asked for afterwards works again. Programs learn of
 * it by `hold.signal`, `snapshot.stale` and `(await session()).signal`, people by a warning for each session lost.
 */
export class Conclave implements AsyncDisposable {
  readonly #context: Context;
  readonly #sessions: Sessions;
  readonly #closed = new AbortController();
  readonly #owned: Backend | undefined;
  /** Warns, once for each recipe, where the store cannot keep its promise through a failover. */
  readonly #weakened: (recipe: Recipe) => void;
  #closing: Promise<void> | undefined;

  /** For `connect`. */
  constructor(
    backend: Backend,
    options: {
      readonly prefix: string;
      readonly ttlMs: number;
      readonly owner: string;
      readonly onWarning: (warning: string) => void;
      readonly owned: Backend | undefined;
    },
  ) {
    const { signal: closed } = this.#closed;
    // A view of its own, so that a conclave on a borrowed backend closes as any other.
    const view = scoped(backend, options.prefix);
    this.#owned = options.owned;
    const warn = (warning: string) => {
      try {
        options.onWarning(warning);
      } catch {
        // What was to be warned of goes on all the same.
      }
    };
    this.#sessions = new Sessions(view, options.ttlMs, closed, warn);
    this.#weakened = weakenedOn(view, warn);
    const receipts = new Receipts(view, this.#sessions);
    this.#context = { backend: view, sessions: this.#sessions, receipts, owner: options.owner, closed, warn };
  }

  /** The namespace seen through the ports: keys without the namespace's prefix, with which a hold's `guard` works. */
  get backend(): Backend {
    return this.#context.backend;
  }

  /** Keys and values of the namespace: `backend.kv`. */
  get kv(): KV {
    return this.#context.backend.kv;
  }

  /**
   * The session that holds everything here; opened when something first needs it, and again after a loss. Put a key on
   * its `lease`, and the key goes when this process dies. Rejects with `signal.reason`, with `UNAVAILABLE` when there is
   * none and the store does not answer, with `CLOSED` after `close`.
   */
  async session(options: WaitOptions = {}): Promise<LiveSession> {
    checkOptions("session", options, ["signal"]);
    return this.#sessions.current(options);
  }

  /**
   * A live copy of all that is under a prefix of the namespace ("" for everything), current when it resolves; dispose it
   * when done. `signal` ends it. Needs no session. End the prefix in "/": `a` covers `ab`, too.
   *
   * Rejects with `UNAVAILABLE` when the store does not answer, with `signal.reason`, `CLOSED`, or `DENIED` as the store
   * says, and with `TypeError` or `RangeError` for what is no prefix. After that an outage makes it stale, and does not
   * end it.
   */
  async replica(prefix: string, options: WaitOptions = {}): Promise<Replica> {
    checkPrefix("prefix of the replica", prefix, this.backend.limits);
    checkOptions("replica", options, ["signal"]);
    return Replica.open(this.backend, prefix, options.signal, this.#closed.signal);
  }

  /**
   * A fair lock. Does no I/O, as `election` and `service`: name it as often as you like. Throws `TypeError` or
   * `RangeError` for a name that cannot be one.
   */
  mutex(name: Name, options: MutexOptions = {}): Mutex {
    this.#weakened("mutex");
    return new Mutex(this.#context, name, options);
  }

  /** Several mutexes at once, all or none; 1 to 32 of them, each named once. Throws as `mutex`. */
  mutexes(names: readonly Name[]): MultiMutex {
    this.#weakened("mutexes");
    return new MultiMutex(this.#context, names);
  }

  /** A gate that holds up everybody while it is closed. Throws as `mutex`. */
  barrier(name: Name): Barrier {
    this.#weakened("barrier");
    return new Barrier(this.#context, name);
  }

  /** What processes enter together, and leave together. Throws as `mutex`, and for options that cannot be meant. */
  doubleBarrier(name: Name, options: DoubleBarrierOptions): DoubleBarrier {
    this.#weakened("doubleBarrier");
    return new DoubleBarrier(this.#context, name, options);
  }

  /** A count that opens the way when it comes to zero. Throws as `mutex`, and for a count that is none. */
  latch(name: Name, options: LatchOptions): Latch {
    this.#weakened("latch");
    return new Latch(this.#context, name, options);
  }

  /** A fair lock that many hold to read, or one to write. Throws as `mutex`. */
  rwLock(name: Name): RwLock {
    this.#weakened("rwLock");
    return new RwLock(this.#context, name);
  }

  /** Permits for so many at a time; `limit` says how many, and its first user stores it for all. Throws as `mutex`. */
  semaphore(name: Name, options: SemaphoreOptions = {}): Semaphore {
    this.#weakened("semaphore");
    return new Semaphore(this.#context, name, options);
  }

  /** An election of one leader. Throws as `mutex`. */
  election(name: Name): Election {
    this.#weakened("election");
    return new Election(this.#context, name);
  }

  /** A service in the directory; its name may be a path, `payments/eu`. Throws as `mutex`. */
  service(name: Name): Service {
    return new Service(this.#context, name);
  }

  /**
   * Settings that processes share, of each key a value that its schema allows; zod, valibot, arktype and others make
   * schemas. Throws as `mutex`, and for schemas and options that cannot be meant.
   */
  config<S extends ConfigSchemas, const D extends ConfigDefaults<S> = Record<never, never>>(
    name: Name,
    schemas: S,
    options?: ConfigOptions<D>,
  ): Config<S, D> {
    this.#weakened("config");
    return new Config<S, D>(this.#context, name, schemas, options);
  }

  /** Messages to all who subscribe, kept for a while. Throws as `mutex`, and for options that cannot be meant. */
  topic<T extends Json = Json>(name: Name, options?: TopicOptions): Topic<T> {
    this.#weakened("topic");
    return new Topic<T>(this.#context, name, options);
  }

  /** A group of processes that know each other, in one order for all. Throws as `mutex`. */
  membership(name: Name): Membership {
    return new Membership(this.#context, name);
  }

  /**
   * A queue of work, delivered at least once: with acknowledgements, priorities, delays and dead letters. Throws as
   * `mutex`, and for options that cannot be meant.
   */
  queue<T extends Json = Json>(name: Name, options: QueueOptions = {}): Queue<T> {
    this.#weakened("queue");
    return new Queue<T>(this.#context, name, options);
  }

  /** A queue whose items are gone once they are popped, delivered at most once. Throws as `mutex`. */
  destructiveQueue<T extends Json = Json>(name: Name): DestructiveQueue<T> {
    this.#weakened("destructiveQueue");
    return new DestructiveQueue<T>(this.#context, name);
  }

  /** A number that processes count with. Keep the object: it remembers, and shares round trips. Throws as `mutex`. */
  counter(name: Name): Counter {
    this.#weakened("counter");
    return new Counter(this.#context, name);
  }

  /** A value that processes change together. Keep the object: it remembers, and takes turns. Throws as `mutex`. */
  atomic<T extends Json = Json>(name: Name): Atomic<T> {
    this.#weakened("atomic");
    return new Atomic<T>(this.#context, name);
  }

  /** Ids that are unique for ever. Keep the object: it has a block of them. Throws as `mutex`, and for a bad `block`. */
  ids(name: Name, options?: IdsOptions): Ids {
    this.#weakened("ids");
    return new Ids(this.#context, name, options);
  }

  /**
   * Runs a function whose reads and writes of this conclave's keys, by its argument, take effect as one step, or not at all:
   * strictly serializable, what it lists included. No call of it ever sees keys as they never were together. It is called
   * again when what it read has changed, so it must do nothing else that matters. What it puts is on no lease.
   *
   * A round trip for each read, those asked for at once shared, and one to commit writes. Gives what the function gave; or
   * rejects with what it threw, and then nothing is written. Nor is it with `UNAVAILABLE` (the store did not answer, or what
   * was read had changed in each of `attempts`), `LEASE_LOST`, `LIMIT`, `DENIED`, and with `RangeError` for more than 99 keys
   * read or written. It may have been, once, with `OUTCOME_UNKNOWN`, when the session ended before the store said so, and
   * with `signal.reason`.
   */
  transact<T>(work: (transaction: Transaction) => Promise<T> | T, options?: TransactOptions): Promise<T> {
    this.#weakened("transact");
    return transact(this.#context, work, options);
  }

  /** Shares out partitions among processes, each to one at a time. Throws as `mutex`, and for what are no partitions. */
  partitioner(name: Name, options: PartitionerOptions): Partitioner {
    this.#weakened("partitioner");
    return new Partitioner(this.#context, name, options);
  }

  /**
   * Ends everything: waits reject with `CLOSED`, what is held is lost and, since the session's lease is revoked, free
   * for others at once. Never rejects for a store that is away, and waits for one a few seconds at most; what was
   * held is then free when its lease ends. Closing twice is fine.
   */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      this.#closed.abort(new CoordinationError("CLOSED", "the conclave was closed"));
      await this.#sessions.close();
      await this.#context.backend[Symbol.asyncDispose]();
      await this.#owned?.[Symbol.asyncDispose]();
    })();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
