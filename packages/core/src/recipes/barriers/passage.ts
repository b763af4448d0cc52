import { checkOptions } from "../../arguments.ts";
import type { WaitOptions } from "../../context.ts";
import { leave, type Place } from "../../place.ts";
import { abortable } from "../../signals.ts";

/** What a double barrier does for those it let in. */
export interface Doorkeeper {
  readonly generation: number;
  readonly token: bigint;
  /** Rejects when the generation is broken; undefined when no death breaks it. */
  readonly broken: ((until: AbortSignal) => Promise<void>) | undefined;
  /** Leaves, and resolves when all others have left. */
  leave(): Promise<void>;
}

/**
 * A stay inside a double barrier, with all other members of a generation. `signal` aborts when it ends before you leave;
 * stop then, and leave: the next generation waits for that.
 */
export class Passage implements AsyncDisposable {
  /** Which of the barrier's generations this is; larger with each. */
  readonly generation: number;
  /** The same for all members of a generation, and larger with each; for fencing, as the token of any hold. */
  readonly token: bigint;
  readonly #place: Place;
  readonly #doorkeeper: Doorkeeper;
  readonly #lost = new AbortController();
  readonly #left = new AbortController();
  readonly #watched: Disposable;
  #leaving: Promise<void> | undefined;

  /** Throws why the session ended, if it has. */
  constructor(place: Place, doorkeeper: Doorkeeper) {
    const { session, keys, created } = place;
    this.generation = doorkeeper.generation;
    this.token = doorkeeper.token;
    this.#place = place;
    this.#doorkeeper = doorkeeper;
    this.#watched = session.watchOver({ key: keys[0] as string, created, lost: (reason) => this.#lose(reason) });
    doorkeeper.broken?.(this.#left.signal).catch((reason: unknown) => this.#lose(reason));
  }

  /**
   * Aborts when the stay ends before you leave: with `BROKEN` when another member died, unless death shrinks the barrier,
   * with `LEASE_LOST` when the session is lost, or its key deleted by hand, and with `CLOSED`.
   */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** Whether you are still inside for all others, too; false as soon as you leave. */
  isHeld(): boolean {
    return !this.#leaving && this.#place.session.isAlive() && !this.#lost.signal.aborted;
  }

  /**
   * Leaves, and resolves when all members have left. An outage only delays it. Leaving twice is fine.
   *
   * Rejects with `BROKEN` when a member died inside, with `LEASE_LOST` when this session ended before it had left, with
   * `CLOSED`, and with `signal.reason`, though it leaves all the same: only the wait for the others ends.
   */
  async leave(options: WaitOptions = {}): Promise<void> {
    checkOptions("leave", options, ["signal"]);
    this.#leaving ??= this.#leave();
    return abortable(this.#leaving, options.signal);
  }

  /** Leaves, unless that was asked for before: whoever asked was told what became of it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#leaving) await this.leave();
  }

  async #leave(): Promise<void> {
    this.#letGo();
    if (this.#lost.signal.aborted) {
      await leave(this.#place);
      throw this.#lost.signal.reason;
    }
    await this.#doorkeeper.leave().catch((error: unknown) => {
      // Whatever failed, others are not to wait for us.
      void leave(this.#place);
      throw error;
    });
  }

  #lose(reason: unknown): void {
    if (this.#leaving) return;
    this.#letGo();
    this.#lost.abort(reason);
  }

  #letGo(): void {
    this.#watched[Symbol.dispose]();
    this.#left.abort(new Error("the stay is over"));
  }
}
