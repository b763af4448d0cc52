import { callOptions, checkFunction, checkOptions } from "../../arguments.ts";
import { decode, encode } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { isCoordinationError } from "../../errors.ts";
import { Hold } from "../../hold.ts";
import { Line } from "../../line.ts";
import type { Place } from "../../place.ts";
import type { CallOptions, Entry } from "../../ports/kv.ts";
import { tokenOf } from "../../token.ts";
import type { Contender } from "./mutex.ts";

/** What a read-write lock is held for: by any number to read, or by one alone to write. */
export type LockMode = "read" | "write";

/** Someone who holds a read-write lock or waits for it. */
export interface RwContender extends Contender {
  /** What for; a writer that downgraded reads. */
  readonly mode: LockMode;
}

/** The lock to write, held by one alone; with `signal`, `isHeld`, `token` and `guard` as any hold. */
export class WriteHold extends Hold {
  readonly #downgraded: Uint8Array;
  /** How many downgrades have let readers in, or may yet. */
  #downgrades = 0;

  /** For `RwLock`. */
  constructor(context: Context, place: Place, until?: AbortSignal) {
    super(context.backend, place, until);
    this.#downgraded = textOf("read", context.owner);
  }

  /** What it is held for: "read" from the moment `downgrade` is called, since from then on others may be reading. */
  get mode(): LockMode {
    return this.#downgrades > 0 ? "read" : "write";
  }

  /**
   * Lets readers in, and stays among them, in one round trip: nobody writes between. It keeps its key, token and place in
   * line, so who waits to write goes on waiting for it. Doing it twice is fine.
   *
   * Rejects with `NOT_HELD` when this is held no more, with why it was lost when that happens meanwhile, with
   * `UNAVAILABLE` when the store does not answer and it is still held to write, and with `signal.reason`, after which
   * others may or may not be reading: then downgrade again, or release.
   */
  async downgrade(options: WaitOptions = {}): Promise<void> {
    checkOptions("downgrade", options, ["signal"]);
    this.throwUnlessHeld("downgrade");
    this.#downgrades += 1;
    try {
      await this.rewrite(this.#downgraded, options);
    } catch (error) {
      // Surely not applied: this one let no reader in.
      if (isCoordinationError(error, "UNAVAILABLE")) this.#downgrades -= 1;
      throw error;
    }
  }
}

/**
 * A fair lock between processes, held by many who read or by one who writes; granted in the order in which the store took
 * the requests. So neither starves the other: readers who come after a writer wait behind it. Not re-entrant.
 *
 *   1. take a place in the one line of readers and writers;
 *   2. a reader waits for the nearest older writer, and a writer for everyone older;
 *   3. when it is our turn we hold the lock, with a token made of the key's creation revision;
 *   4. to downgrade, a writer rewrites its key to say that it reads: readers behind it wait for it no more, writers do;
 *   5. to release, delete the key, if it is still that incarnation.
 *
 * A reader's release wakes at most one writer; a writer's wakes all readers behind it, whose turn it is then. There is no
 * way to upgrade a reader to a writer, since two who try would wait for each other: release, write, and look again. This is
 * the lock with readers and writers of Hunt, Konar, Junqueira and Reed, "ZooKeeper: Wait-free coordination for
 * Internet-scale systems" (USENIX ATC 2010, section 2.4); downgrading is due to Apache Curator's lock.
 */
export class RwLock {
  readonly #context: Context;
  readonly #prefix: string;
  readonly #readers: Line;
  readonly #writers: Line;

  constructor(context: Context, name: Name) {
    this.#context = context;
    this.#prefix = roomyPrefixOf("rwlock", name, context.backend.limits, "r/");
    const [reading, writing] = [`${this.#prefix}r/`, `${this.#prefix}w/`];
    // Only who holds the lock downgrades, so nobody older stands in its way.
    this.#readers = new Line(context, { own: reading, ahead: writing, passable: (entry) => modeOf(entry) === "read" });
    this.#writers = new Line(context, { own: writing, ahead: this.#prefix });
  }

  /**
   * Waits to read, for as long as it takes. Rejects as `Mutex.acquire` does. Readers who came at the same moment may have
   * the same token; that of a writer is its own.
   */
  async read(options: WaitOptions = {}): Promise<Hold> {
    checkOptions("read", options, ["signal"]);
    return this.#read(options);
  }

  /** Waits to write, for as long as it takes. Rejects as `Mutex.acquire` does. */
  async write(options: WaitOptions = {}): Promise<WriteHold> {
    checkOptions("write", options, ["signal"]);
    return this.#write(options);
  }

  /**
   * The lock to read if nobody writes or waits to, and otherwise undefined, in one round trip that then writes nothing; in
   * two when the one writer there is has downgraded. Rejects as `Mutex.acquire` does.
   */
  async tryRead(options: WaitOptions = {}): Promise<Hold | undefined> {
    checkOptions("tryRead", options, ["signal"]);
    const place = await this.#readers.takeIfFree(this.#value("read"), options);
    return place && new Hold(this.#context.backend, place);
  }

  /**
   * The lock to write if nobody holds it or waits for it, and otherwise undefined, in one round trip that then writes
   * nothing. Rejects as `Mutex.acquire` does.
   */
  async tryWrite(options: WaitOptions = {}): Promise<WriteHold | undefined> {
    checkOptions("tryWrite", options, ["signal"]);
    const place = await this.#writers.takeIfFree(this.#value("write"), options);
    return place && new WriteHold(this.#context, place);
  }

  /** Waits to read, runs `work` while holding the lock, and releases, as `Mutex.run` does. */
  async runRead<T>(work: (hold: Hold) => Promise<T> | T, options: WaitOptions = {}): Promise<T> {
    checkFunction("work of runRead", work);
    checkOptions("runRead", options, ["signal"]);
    await using hold = await this.#read(options, options.signal);
    return await work(hold);
  }

  /** Waits to write, runs `work` while holding the lock, and releases, as `Mutex.run` does. */
  async runWrite<T>(work: (hold: WriteHold) => Promise<T> | T, options: WaitOptions = {}): Promise<T> {
    checkFunction("work of runWrite", work);
    checkOptions("runWrite", options, ["signal"]);
    await using hold = await this.#write(options, options.signal);
    return await work(hold);
  }

  /**
   * Everyone who holds the lock and then everyone who waits, in order: for people, since it is out of date when it
   * arrives. Needs no session. Rejects as `kv.list` does.
   */
  async queue(options: CallOptions = {}): Promise<readonly RwContender[]> {
    checkOptions("queue", options, callOptions);
    const { entries } = await this.#context.backend.kv.list(this.#prefix, { ...options, order: "oldest" });
    return entries.map((entry) => {
      const { key, value, created, lease } = entry;
      const mode = key.startsWith(`${this.#prefix}r/`) ? "read" : modeOf(entry);
      return { mode, owner: decode(value).replace(/^\w+ /, ""), token: tokenOf(created), key, lease };
    });
  }

  async #read(options: WaitOptions, until?: AbortSignal): Promise<Hold> {
    return new Hold(this.#context.backend, await this.#readers.take(this.#value("read"), options), until);
  }

  async #write(options: WaitOptions, until?: AbortSignal): Promise<WriteHold> {
    return new WriteHold(this.#context, await this.#writers.take(this.#value("write"), options), until);
  }

  #value(mode: LockMode): Uint8Array {
    return textOf(mode, this.#context.owner);
  }
}

/** What a key says: what for, and whose it is. */
function textOf(mode: LockMode, owner: string): Uint8Array {
  return encode(`${mode} ${owner}`);
}

/** What a writer's key is held for; what does not say so, another program's for one, is there to write. */
function modeOf({ value }: Entry): LockMode {
  return decode(value).startsWith("read ") ? "read" : "write";
}
