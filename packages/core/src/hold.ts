import { decode } from "./bytes.ts";
import type { WaitOptions } from "./context.ts";
import { CoordinationError } from "./errors.ts";
import { leave, type Place } from "./place.ts";
import type { Backend } from "./ports/backend.ts";
import type { Condition, Revision, Txn } from "./ports/kv.ts";
import type { Session } from "./session.ts";
import { settle } from "./settle.ts";
import { linkSignals, onAbort } from "./signals.ts";
import { tokenOf } from "./token.ts";

/** A transaction with one more condition. */
export type Guarded<T extends Txn> = Omit<T, "if"> & { readonly if: readonly Condition[] };

/**
 * Something that is held: a lock, leadership. It is yours while `isHeld()` says so; `signal` aborts when it is lost
 * (not when you release it). Give `token` to whatever you write to outside the store, and have it refuse a smaller one:
 * no lease can stop a write that was already on its way. While the store is away a hold stays held until its lease could
 * end. A hold that was lost is never taken again: acquire anew.
 */
export class Hold implements AsyncDisposable {
  /** Grows with every grant of the name; it fits a signed 64-bit column. `token.ts` says how it is made. */
  readonly token: bigint;
  /** The key held, as the conclave's own `kv` knows it. */
  readonly key: string;
  protected readonly backend: Backend;
  protected readonly session: Session;
  protected readonly place: Place;
  readonly #lost = new AbortController();
  readonly #watched: readonly Disposable[];
  readonly #unlink: Disposable;
  /** When the key was last written, as far as we know. */
  #modified: Revision;
  #releasing: Promise<void> | undefined;

  /** A hold on a place of the session's; `until` ends it too. Throws why the session ended, if it has. */
  constructor(backend: Backend, place: Place, until?: AbortSignal, handovers = 0) {
    const { session, keys, created } = place;
    this.backend = backend;
    this.session = session;
    this.place = place;
    this.key = keys[0] as string;
    this.#modified = created;
    this.token = tokenOf(created, handovers);
    this.#watched = keys.map((key) => session.watchOver({ key, created, lost: (reason) => this.lose(reason) }));
    this.#unlink = onAbort(until, () => this.lose(until?.reason));
    if (until?.aborted) this.lose(until.reason);
  }

  /**
   * Aborts when the hold is lost, before anyone else can have it; its reason says why: `LEASE_LOST`, `CLOSED` when the
   * conclave was closed, and in a `run` the reason of the signal given to it. If somebody deletes the key by hand, it
   * aborts after the session's next renewal, so within about a third of the time to live.
   */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** Whether it cannot yet be another's: true only until then, even straight after the process was stopped or busy. */
  isHeld(): boolean {
    return !this.#releasing && this.session.isAlive() && !this.#lost.signal.aborted;
  }

  /**
   * The transaction, with a condition more: it is applied only if this is still held when the store applies it, whatever
   * the clocks say. Commit it with the same conclave's `kv`; `succeeded` is then false when the hold is gone. What is
   * guarded after `release` is never applied.
   */
  guard<const T extends Txn>(txn: T): Guarded<T> {
    const { keys, created } = this.place;
    // What was released the store may not know of yet, or another caller of this process may have by the same key.
    const held = this.#releasing ? never(this.key) : keys.map((key) => ({ key, created }));
    return { ...txn, if: [...(txn.if ?? []), ...held] };
  }

  /**
   * Gives it up, in one round trip; at once, where another caller of this process waits for it. Never rejects for a store
   * that is away, and waits for one a few seconds at most: the key is then deleted as soon as the store is back, and goes
   * with the session at the latest. Releasing twice, or after a loss, is fine.
   */
  release(): Promise<void> {
    this.#releasing ??= this.#release(this.isHeld());
    return this.#releasing;
  }

  async #release(wasHeld: boolean): Promise<void> {
    this.#letGo();
    await this.giveBack(wasHeld);
  }

  /** What a release does with the place, which was ours until now if `wasHeld`. */
  protected async giveBack(_wasHeld: boolean): Promise<void> {
    await leave(this.place);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  protected lose(reason: unknown): void {
    if (this.#releasing) return;
    this.#letGo();
    this.#lost.abort(reason);
  }

  #letGo(): void {
    for (const watched of this.#watched) watched[Symbol.dispose]();
    this.#unlink[Symbol.dispose]();
  }

  /**
   * Changes what the key says while it is ours; rejects with `NOT_HELD` when it is not, and this is then lost. Each write
   * depends on the one before, so that what was sent first and arrives last undoes nothing that was said since.
   */
  protected async rewrite(value: Uint8Array, options: WaitOptions): Promise<void> {
    const { kv, clock } = this.backend;
    using linked = linkSignals(options.signal, this.signal);
    const { signal } = linked;
    for (;;) {
      const unchanged = { key: this.key, modified: this.#modified };
      const put = { put: this.key, value, lease: this.session.lease };
      const txn = this.guard({ if: [unchanged], then: [put], else: [{ get: this.key }] });
      const commit = await settle(clock, signal, () => kv.commit(txn, { signal }));
      if (commit.succeeded) {
        this.#modified = commit.revision;
        return;
      }
      const [entry] = commit.results;
      if (entry?.created !== this.place.created || entry.modified === unchanged.modified) break;
      // It was rewritten since: by an earlier sending of ours, or by hand.
      this.#modified = entry.modified;
      if (decode(entry.value) === decode(value)) return;
    }
    const reason = new CoordinationError("NOT_HELD", `it is held no more: the key ${this.key} is gone`);
    this.lose(reason);
    throw reason;
  }

  protected throwUnlessHeld(what: string): void {
    if (!this.isHeld())
      throw new CoordinationError("NOT_HELD", `${what} needs a hold, and ${this.key} is held no more`);
  }
}

/** What no store finds to be so. */
function never(key: string): readonly Condition[] {
  return [
    { key, exists: true },
    { key, exists: false },
  ];
}
