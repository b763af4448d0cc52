import { checkOptions } from "../arguments.ts";
import type { Context, WaitOptions } from "../context.ts";
import { CoordinationError, inWords } from "../errors.ts";
import type { Condition, Entry, Revision } from "../ports/kv.ts";
import type { Session } from "../session.ts";
import { isForNow, persistently, settle } from "../settle.ts";
import { abortable, linkSignals } from "../signals.ts";
import { type Advertisement, advertisementOptions, checkAdvertisement, encodeAdvertisement } from "./instance.ts";

const registered = new WeakMap<Context, Map<string, Registration>>();

/**
 * An instance's place in the directory, kept until it is deregistered:
 *
 *   1. put the instance's key on the session's lease: when the process dies, it vanishes with the lease;
 *   2. when a session is lost, put the key again on the next one's lease, which moves it in one step: if the old lease
 *      still lived, nobody saw the instance go;
 *   3. when the key vanished while the session lives, put it again;
 *   4. to deregister, delete the key if it is still on our lease.
 *
 * The last registration of an id wins: when it is registered again, here or by another process, this one ends with
 * `NOT_HELD`. An outage only delays 2 and 3; what the store refuses for good goes to the conclave's `onWarning`.
 */
export class Registration implements AsyncDisposable {
  /** The name of the service. */
  readonly service: string;
  /** The instance's id: the one given, or the one made up for it. */
  readonly id: string;
  readonly #context: Context;
  readonly #key: string;
  readonly #replaced = new AbortController();
  #advertisement: Advertisement;
  /** What our last put wrote, once there was one. */
  #modified: Revision | undefined;
  #session: Session | undefined;
  #watched: Disposable | undefined;
  #kept: Disposable | undefined;
  /** Puts and deletes of the key go one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #deregistered = false;

  private constructor(context: Context, service: string, id: string, key: string, advertisement: Advertisement) {
    this.#context = context;
    this.service = service;
    this.id = id;
    this.#key = key;
    this.#advertisement = advertisement;
  }

  /** Registers an instance, in one round trip once there is a session. */
  static async open(
    context: Context,
    place: { readonly service: string; readonly id: string; readonly key: string },
    advertisement: Advertisement,
    options: WaitOptions,
  ): Promise<Registration> {
    const registration = new Registration(context, place.service, place.id, place.key, advertisement);
    const earlier = registration.#siblings.get(place.key);
    const put = async () => {
      await registration.#begin(options);
      const other = registration.#siblings.get(place.key);
      if (other) other.#replace();
      registration.#siblings.set(place.key, registration);
    };
    // In the earlier one's turn as well, so that no put of its own follows ours.
    await registration.#inTurn(() => (earlier ? earlier.#inTurn(put, options.signal) : put()));
    registration.#kept = context.sessions.keep((session) => registration.#restore(session));
    return registration;
  }

  async #begin(options: WaitOptions): Promise<void> {
    const session = await this.#context.sessions.current(options);
    try {
      await this.#put(session, options.signal);
    } catch (error) {
      // It may have been applied, or may be yet.
      const ours = !this.signal.aborted && !this.#siblings.has(this.#key);
      if (ours && session.isAlive()) void session.discard([this.#key]);
      throw error;
    }
  }

  /** This process's registrations by key: they share a lease, by which others are told apart. */
  get #siblings(): Map<string, Registration> {
    const siblings = registered.get(this.#context) ?? new Map<string, Registration>();
    registered.set(this.#context, siblings);
    return siblings;
  }

  /** Aborts with `NOT_HELD` when the same id was registered again; this registration then is over. */
  get signal(): AbortSignal {
    return this.#replaced.signal;
  }

  /**
   * Changes what the instance says, in one round trip; what is not given stays, and `metadata: undefined` takes that away.
   *
   * Rejects with `NOT_HELD` after `deregister` and when the id was registered again, with `UNAVAILABLE` when the store does
   * not answer and nothing was changed, with `signal.reason`, with `LEASE_LOST` when the session ends first, and with
   * `CLOSED`. What it said before is what then is registered again, though until that happens the change may be seen.
   */
  async update(changes: Partial<Advertisement>, options: WaitOptions = {}): Promise<void> {
    checkOptions("update", changes, advertisementOptions);
    checkOptions("update", options, ["signal"]);
    await this.#inTurn(async () => {
      const advertisement = { ...this.#advertisement, ...changes };
      checkAdvertisement("update", advertisement);
      this.#throwIfOver();
      const session = await this.#context.sessions.current(options);
      const before = this.#advertisement;
      this.#advertisement = advertisement;
      try {
        await this.#put(session, options.signal);
      } catch (error) {
        this.#advertisement = before;
        throw error;
      }
    }, options.signal);
  }

  /**
   * Takes the instance out of the directory. Never rejects for a store that is away: it is then taken out as soon as the
   * store is back, and goes with the session's lease at the latest. Doing it twice is fine.
   */
  deregister(): Promise<void> {
    this.#kept?.[Symbol.dispose]();
    return this.#inTurn(async () => {
      if (this.#deregistered) return;
      this.#deregistered = true;
      if (this.#siblings.get(this.#key) === this) this.#siblings.delete(this.#key);
      this.#watched?.[Symbol.dispose]();
      if (this.#session?.isAlive() && !this.signal.aborted) {
        await this.#session.discard([this.#key]);
      }
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.deregister();
  }

  /** Runs a step after those before it; one whose signal aborts while it waits for its turn is skipped. */
  #inTurn<T>(step: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const turn = abortable(this.#queue, signal).then(step);
    // Without their results, each of which would hold those before it.
    this.#queue = Promise.allSettled([this.#queue, turn]).then(() => {});
    return turn;
  }

  #restore(session: Session): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#deregistered || this.signal.aborted) return;
      try {
        await this.#put(session, undefined);
      } catch (error) {
        if (!isForNow(error) && !session.signal.aborted && !this.signal.aborted)
          this.#context.warn(`${this.service}/${this.id} could not be registered again: ${inWords(error)}`);
        throw error;
      }
    });
  }

  /** Writes what the instance says, on the session's lease, unless another process wrote since we did. */
  async #put(session: Session, until: AbortSignal | undefined): Promise<void> {
    using linked = linkSignals(until, session.signal);
    const { signal } = linked;
    const { kv, clock } = this.#context.backend;
    const key = this.#key;
    session.reclaim(key);
    const put = { put: key, value: encodeAdvertisement(this.#advertisement), lease: session.lease };
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
      } else if (
        modified === undefined ||
        entry.lease === session.lease.id ||
        entry.lease === this.#session?.lease.id
      ) {
        // Another's, when we first register; after that an earlier put of ours, whose outcome we did not learn.
        expected = [{ key, modified: entry.modified }];
      } else throw this.#replace();
    }
  }

  #written(session: Session, { key, created, modified }: Entry): void {
    this.#modified = modified;
    this.#session = session;
    this.#watched?.[Symbol.dispose]();
    const lost = () => {
      void persistently(this.#context.backend.clock, session.signal, () => this.#restore(session));
    };
    this.#watched = session.watchOver({ key, created, lost });
  }

  #replace(): CoordinationError {
    const reason = new CoordinationError("NOT_HELD", `${this.service}/${this.id} was registered again`);
    if (this.#siblings.get(this.#key) === this) this.#siblings.delete(this.#key);
    this.#kept?.[Symbol.dispose]();
    this.#watched?.[Symbol.dispose]();
    this.#replaced.abort(reason);
    return reason;
  }

  #throwIfOver(): void {
    if (this.#deregistered) throw new CoordinationError("NOT_HELD", `${this.service}/${this.id} was deregistered`);
    this.signal.throwIfAborted();
  }
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
