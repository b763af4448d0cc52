import { checkFunction, checkName, checkOptions, outOfRange, wrongType } from "../../arguments.ts";
import { byteLength } from "../../bytes.ts";
import { type Context, checkRoom, type Name, prefixOf, type WaitOptions } from "../../context.ts";
import { inWords } from "../../errors.ts";
import { tellNews } from "../../news.ts";
import { Replica, type View } from "../../replica.ts";
import { linkSignals } from "../../signals.ts";
import {
  type Advertisement,
  checkAdvertisement,
  decodeInstance,
  type Instance,
  instanceKey,
  pathOf,
  saysTheSame,
} from "./instance.ts";
import { type Picked, Picker, type Strategy } from "./pick.ts";
import { Registration } from "./registration.ts";

/** What to register: an address, and what else there is to say. `signal` gives the attempt up. */
export interface RegisterOptions extends Advertisement, WaitOptions {
  /**
   * The instance's id, by default one that no other has. Registering an id again takes it over; one of your own makes a
   * restarted process replace what it was, rather than stand beside it until that lease ends.
   */
  readonly id?: string | undefined;
}

/** Which instances to see. `signal` ends the view, whenever it aborts. */
export interface InstancesOptions extends WaitOptions {
  /** Also those of all services below this one in the directory; false by default. */
  readonly recursive?: boolean | undefined;
}

/** The instances of a service, as they were at one time. */
export interface Snapshot {
  /** Ordered by service, then by id. */
  readonly instances: readonly Instance[];
  /**
   * The store does not answer, which is noticed within about eight seconds, or the view has ended: these are the last that
   * were known.
   */
  readonly stale: boolean;
}

/** What to do when an instance comes, says something new, or goes. Each is called without being waited for. */
export interface InstanceCallbacks {
  /** It is there; also called at first for those that were there before. */
  started?(instance: Instance): void;
  /** It says something else than `before`: its address, metadata or weight. */
  changed?(instance: Instance, before: Instance): void;
  /** It is gone: deregistered, or its lease ended. Not called because the store is away. */
  stopped?(instance: Instance): void;
}

/**
 * A service in the directory. Its name is a path (`payments`, `payments/eu`), so that a sub-directory can be watched as
 * a whole. An instance is a key `service/<name>/<id>` on its process's lease, in the form of Go's `naming/endpoints`
 * package for etcd: it vanishes when the process dies, at the end of the lease. To share a registry with Go, give its
 * target as `{ prefix: "<target>/" }` to a conclave without a namespace.
 */
export class Service {
  /** The service's name; of a raw prefix, the prefix without its last "/". */
  readonly name: string;
  readonly #context: Context;
  /** What stands before the name in its keys. */
  readonly #root: string;

  constructor(context: Context, name: Name) {
    this.#context = context;
    if (typeof name === "object" && name !== null) {
      this.#root = "";
      this.name = prefixOf("service", name).slice(0, -1);
    } else {
      checkName("name of the service", name);
      if (name.split("/").includes("")) throw outOfRange("name of the service", name, "a path of non-empty segments");
      this.#root = "service/";
      this.name = name;
    }
    checkRoom("service", name, this.#prefix, context.backend.limits);
  }

  get #prefix(): string {
    return `${this.#root}${this.name}/`;
  }

  /**
   * Registers an instance, and keeps it registered until it is deregistered: over lost sessions too, without a moment's
   * absence if the next session opens before the lost one's lease ended. One round trip, once there is a session.
   *
   * Rejects with `signal.reason`, with `UNAVAILABLE` when the store does not answer, with `LEASE_LOST` when the session
   * ends first, with `CLOSED`, and with `LIMIT` or `DENIED` as the store says; what may have been registered all the same is
   * then taken away again.
   */
  async register(options: RegisterOptions): Promise<Registration> {
    checkAdvertisement("register", options, ["id", "signal"]);
    const { id = this.#context.backend.clock.id(), signal } = options;
    checkName("id of register", id);
    const { address, metadata, weight } = options;
    const key = instanceKey(this.#prefix, id);
    const { maxKeyBytes } = this.#context.backend.limits;
    if (byteLength(key) > maxKeyBytes)
      throw new RangeError(`id of register must make a key of at most ${maxKeyBytes} bytes, not ${byteLength(key)}`);
    const place = { service: this.name, id, key };
    return Registration.open(this.#context, place, { address, metadata, weight }, { signal });
  }

  /**
   * A live view of the instances, current when it resolves; dispose it when done. `signal` ends it. Needs no session.
   * Rejects with `UNAVAILABLE` when the store does not answer, with `signal.reason`, `CLOSED`, or `DENIED` as the store
   * says. After that an outage makes it stale, and does not end it.
   */
  async instances(options: InstancesOptions = {}): Promise<Instances> {
    checkOptions("instances", options, ["recursive", "signal"]);
    const { recursive } = options;
    if (recursive !== undefined && typeof recursive !== "boolean")
      throw wrongType("recursive of instances", recursive, "a boolean");
    const linked = linkSignals(options.signal, this.#context.closed);
    try {
      const replica = await Replica.open(this.#context.backend, this.#prefix, linked.signal);
      const { name } = this;
      return new Instances(this.#context, { replica, root: this.#root, name, recursive: recursive === true, linked });
    } catch (error) {
      linked[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * The instances, and again whenever they change or become stale. Newest wins: a slow reader skips snapshots. Leaving the
   * loop ends it. Rejects as `instances` does, and when its view ends.
   */
  async *watch(options: InstancesOptions = {}): AsyncGenerator<Snapshot, void, undefined> {
    await using instances = await this.instances(options);
    yield* instances;
  }
}

/**
 * A live view of a service's instances (see `replica.ts`): by `snapshot`, by `pick`, by iteration, by callbacks. It ends
 * when it is disposed, its signal aborts, the conclave closes, or the store refuses it for good.
 */
export class Instances implements AsyncIterable<Snapshot>, AsyncDisposable {
  readonly #context: Context;
  readonly #replica: Replica;
  readonly #root: string;
  readonly #name: string;
  readonly #recursive: boolean;
  readonly #linked: { readonly signal: AbortSignal } & Disposable;
  readonly #picker: Picker;
  #latest: { readonly view: View; readonly snapshot: Snapshot } | undefined;

  /** Of what the replica sees: the service named, and if `recursive` those below it. */
  constructor(
    context: Context,
    source: {
      readonly replica: Replica;
      readonly root: string;
      readonly name: string;
      readonly recursive: boolean;
      readonly linked: { readonly signal: AbortSignal } & Disposable;
    },
  ) {
    this.#context = context;
    this.#replica = source.replica;
    this.#root = source.root;
    this.#name = source.name;
    this.#recursive = source.recursive;
    this.#linked = source.linked;
    this.#picker = new Picker(context.backend.clock);
  }

  /** The newest snapshot; the same object until something changes. No I/O. */
  get snapshot(): Snapshot {
    return this.#snapshotOf(this.#replica.view);
  }

  /**
   * An instance to talk to, out of the newest snapshot, stale or not; undefined when there is none. `key` is for
   * `consistent-hash` and `sticky`, which need it. No I/O. Throws `RangeError` for a strategy that there is not, and
   * `TypeError` for a key that is no string.
   */
  pick(strategy: Strategy, key?: string): Picked | undefined {
    return this.#picker.pick(this.snapshot.instances, strategy, key);
  }

  /**
   * Yields the snapshot and then each newer one. Ends when the view is disposed; rejects with `signal.reason` or `CLOSED`
   * when it ended by those, and with why the store refused it otherwise.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Snapshot, void, undefined> {
    return this.#snapshots();
  }

  /**
   * Calls back for every instance there is, and then for each that comes, changes or goes, until disposed. An instance
   * registered anew with the same words, after its process lost its session, says nothing new. What a callback throws
   * goes to the conclave's `onWarning`, and the next is called all the same; so does why the view ended, if the store
   * refused it for good. Throws `TypeError` for what are no callbacks.
   */
  subscribe(callbacks: InstanceCallbacks): Disposable {
    if (typeof callbacks !== "object" || callbacks === null)
      throw wrongType("callbacks of subscribe", callbacks, "an object");
    checkOptions("subscribe", callbacks, ["started", "changed", "stopped"]);
    for (const [name, callback] of Object.entries(callbacks))
      if (callback !== undefined) checkFunction(`${name} of subscribe`, callback);
    const { started, changed, stopped } = callbacks;
    return tellNews({
      states: (until) => this.#snapshots(until),
      items: ({ instances }) => new Map(instances.map((instance) => [pathOf(instance), instance])),
      same: saysTheSame,
      callbacks: {
        came: (instance) => started?.call(callbacks, instance),
        changed: (instance, before) => changed?.call(callbacks, instance, before),
        went: (instance) => stopped?.call(callbacks, instance),
      },
      failed: (error) => this.#context.warn(`a callback of subscribe failed: ${inWords(error)}`),
      ended: (reason) => {
        if (this.#linked.signal.aborted) return;
        this.#context.warn(`the view of ${this.#name} ended, and its callbacks are called no more: ${inWords(reason)}`);
      },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#linked[Symbol.dispose]();
    await this.#replica[Symbol.asyncDispose]();
  }

  async *#snapshots(until?: AbortSignal): AsyncGenerator<Snapshot, void, undefined> {
    for await (const view of this.#replica.views(until)) yield this.#snapshotOf(view);
  }

  #snapshotOf(view: View): Snapshot {
    const latest = this.#latest;
    if (latest?.view.entries === view.entries && latest.view.stale === view.stale) return latest.snapshot;
    const snapshot = this.#decode(view);
    this.#latest = { view, snapshot };
    return snapshot;
  }

  #decode({ entries, stale }: View): Snapshot {
    const instances = [...entries.values()]
      .map((entry) => decodeInstance(this.#root, entry))
      .filter((instance) => instance !== undefined)
      .filter(({ service }) => this.#recursive || service === this.#name);
    instances.sort((one, other) => compare(one.service, other.service) || compare(one.id, other.id));
    return { instances, stale };
  }
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
