import { Bell } from "./bell.ts";
import type { Context, WaitOptions } from "./context.ts";
import { CoordinationError, inWords } from "./errors.ts";
import type { Condition, Entry, Revision } from "./ports/kv.ts";
import type { Session } from "./session.ts";
import { isForNow, persistently, settle } from "./settle.ts";
import { abortable, linkSignals } from "./signals.ts";

/** A kept key as it was last written, on a session's lease. */
export interface Standing {
  readonly session: Session;
  readonly created: Revision;
}

/** What to keep: which key, what it says, and how. `what` is what messages call it. */
export interface Keeping<T> {
  readonly key: string;
  readonly what: string;
  readonly value: T;
  readonly encode: (value: T) => Uint8Array;
}

const keptIn = new WeakMap<Context, Map<string, KeptKey<unknown>>>();

/** This process's kept keys: they share a lease, by which those of others are told apart. */
export function keptKeys(context: Context): Map<string, KeptKey<unknown>> {
  const kept = keptIn.get(context) ?? new Map<string, KeptKey<unknown>>();
  keptIn.set(context, kept);
  return kept;
}

/**
 * A key that is there for as long as its process wants it, over lost sessions too:
 *
 *   1. put the key on the session's lease: when the process dies, it vanishes with the lease;
 *   2. when a session is lost, put the key again on the next one's lease, which moves it in one step: if the old lease
 *      still lived, nobody saw it go;
 *   3. when the key vanished while the session lives, put it again;
 *   4. to remove it, delete the key if it is still on our lease.
 *
 * Who opens a key last has it: when it is opened again, here or by another process, this one ends with `NOT_HELD`. An
 * outage only delays 2 and 3; what the store refuses for good goes to the conclave's `onWarning`.
 */
export class KeptKey<T> {
  /** Rings whenever `standing` changes. */
  readonly bell: Bell = new Bell();
  readonly #context: Context;
  readonly #key: string;
  readonly #what: string;
  readonly #encode: (value: T) => Uint8Array;
  readonly #replaced = new AbortController();
  #value: T;
  /** What our last put wrote, once there was one. */
  #modified: Revision | undefined;
  /** On whose leases the key may be: that of the last put which is known to be done, and of those sent since. */
  readonly #sessions = new Set<Session>();
  #standing: Standing | undefined;
  #watched: Disposable | undefined;
  #kept: Disposable | undefined;
  /** Puts and deletes of the key go one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #removed = false;

  private constructor(context: Context, { key, what, value, encode }: Keeping<T>) {
    this.#context = context;
    this.#key = key;
    this.#what = what;
    this.#value = value;
    this.#encode = encode;
  }

  /** Puts the key, in one round trip once there is a session, and keeps it from then on. */
  static async open<T>(context: Context, keeping: Keeping<T>, options: WaitOptions): Promise<KeptKey<T>> {
    const kept = new KeptKey(context, keeping);
    const { key } = keeping;
    const siblings = keptKeys(context);
    const earlier = siblings.get(key);
    // Known before it is written: who sees it in the store first knows it for our own, and who opens it too waits for us.
    if (!earlier) siblings.set(key, kept as KeptKey<unknown>);
    const put = async () => {
      await kept.#begin(options);
      const other = siblings.get(key);
      // One that is only being opened replaces us, once it is.
      if (other && other !== kept && other.#modified !== undefined) other.#replace();
      if (!kept.signal.aborted) siblings.set(key, kept as KeptKey<unknown>);
    };
    // In the earlier one's turn as well, so that no put of its own follows ours.
    await kept.#inTurn(() => (earlier ? earlier.#inTurn(put, options.signal) : put()));
    kept.#kept = context.sessions.keep((session) => kept.#restore(session));
    return kept;
  }

  async #begin(options: WaitOptions): Promise<void> {
    let session: Session | undefined;
    try {
      session = await this.#context.sessions.current(options);
      await this.#put(session, options.signal);
    } catch (error) {
      this.#letGo();
      // It may have been applied, or may be yet.
      const ours = !this.signal.aborted && !keptKeys(this.#context).has(this.#key);
      if (ours && session?.isAlive()) void session.discard([this.#key]);
      throw error;
    }
  }

  /** Aborts with `NOT_HELD` when the key was opened again; this one then is over. */
  get signal(): AbortSignal {
    return this.#replaced.signal;
  }

  /** The key as we last wrote it; undefined from when it is lost until it is written again, and once it is over. */
  get standing(): Standing | undefined {
    return this.#standing?.session.isAlive() ? this.#standing : undefined;
  }

  /** Whether it was removed. */
  get removed(): boolean {
    return this.#removed;
  }

  /**
   * Changes what the key says, in one round trip, when its turn has come. Rejects with `NOT_HELD` when this is over, with
   * what `change` threw, and as a commit does; what it said before is then what is kept.
   */
  update(change: (value: T) => T, options: WaitOptions): Promise<void> {
    return this.#inTurn(async () => {
      const value = change(this.#value);
      this.#throwIfOver();
      const session = await this.#context.sessions.current(options);
      const before = this.#value;
      this.#value = value;
      try {
        await this.#put(session, options.signal);
      } catch (error) {
        this.#value = before;
        throw error;
      }
    }, options.signal);
  }

  /** Deletes the key, if it is still ours; never rejects. Twice is fine. */
  remove(): Promise<void> {
    this.#kept?.[Symbol.dispose]();
    return this.#inTurn(async () => {
      if (this.#removed) return;
      this.#removed = true;
      this.#letGo();
      const alive = [...this.#sessions].filter((session) => session.isAlive());
      if (!this.signal.aborted) await Promise.all(alive.map((session) => session.discard([this.#key])));
    });
  }

  /** Runs a step after those before it; one whose signal aborts while it waits for its turn is skipped. */
  #inTurn<R>(step: () => Promise<R>, signal?: AbortSignal): Promise<R> {
    const turn = abortable(this.#queue, signal).then(step);
    // Without their results, each of which would hold those before it.
    this.#queue = Promise.allSettled([this.#queue, turn]).then(() => {});
    return turn;
  }

  #restore(session: Session): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#removed || this.signal.aborted) return;
      try {
        await this.#put(session, undefined);
      } catch (error) {
        if (!isForNow(error) && !session.signal.aborted && !this.signal.aborted)
          this.#context.warn(`${this.#what} could not be registered again: ${inWords(error)}`);
        throw error;
      }
    });
  }

  /** Writes what the key is to say, on the session's lease, unless another process wrote since we did. */
  async #put(session: Session, until: AbortSignal | undefined): Promise<void> {
    using linked = linkSignals(until, session.signal);
    const { signal } = linked;
    const { kv, clock } = this.#context.backend;
    const key = this.#key;
    session.reclaim(key);
    this.#sessions.add(session);
    const leases = new Set([...this.#sessions].map(({ lease }) => lease.id));
    const put = { put: key, value: this.#encode(this.#value), lease: session.lease };
    const read = { get: key };
    const modified = this.#modified;
    let expected: readonly Condition[] = [modified === undefined ? { key, exists: false } : { key, modified }];
    for (;;) {
      const commit = await settle(clock, signal, () =>
        kv.commit({ if: expected, then: [put, read], else: [read] }, { signal }),
      );
      const entry = commit.succeeded ? commit.results[1] : commit.results[0];
      if (entry === undefined) expected = [{ key, exists: false }];
      else if (entry.lease === session.lease.id && (commit.succeeded || sameBytes(entry.value, put.value))) {
        return this.#written(session, entry);
      } else if (modified === undefined || (entry.lease !== undefined && leases.has(entry.lease))) {
        // Another's, when we first put it; after that an earlier put of ours, whose outcome we did not learn.
        expected = [{ key, modified: entry.modified }];
      } else throw this.#replace();
    }
  }

  #written(session: Session, { key, created, modified }: Entry): void {
    this.#modified = modified;
    this.#sessions.clear();
    this.#sessions.add(session);
    this.#watched?.[Symbol.dispose]();
    const lost = () => {
      this.#stand(undefined);
      void persistently(this.#context.backend.clock, session.signal, () => this.#restore(session));
    };
    this.#watched = session.watchOver({ key, created, lost });
    this.#stand({ session, created });
  }

  #stand(standing: Standing | undefined): void {
    this.#standing = standing;
    this.bell.ring();
  }

  #replace(): CoordinationError {
    const reason = new CoordinationError("NOT_HELD", `${this.#what} was registered again`);
    this.#kept?.[Symbol.dispose]();
    this.#replaced.abort(reason);
    this.#letGo();
    return reason;
  }

  #letGo(): void {
    const siblings = keptKeys(this.#context);
    if (siblings.get(this.#key) === (this as KeptKey<unknown>)) siblings.delete(this.#key);
    this.#watched?.[Symbol.dispose]();
    this.#stand(undefined);
  }

  #throwIfOver(): void {
    if (this.#removed) throw new CoordinationError("NOT_HELD", `${this.#what} was taken away`);
    this.signal.throwIfAborted();
  }
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
