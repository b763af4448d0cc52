import { checkOptions } from "../../arguments.ts";
import type { Context, WaitOptions } from "../../context.ts";
import { encodeJson, type Json } from "../../json.ts";
import type { KeptKey } from "../../kept-key.ts";
import { linkSignals } from "../../signals.ts";
import { tokenOf } from "../../token.ts";

/** How a member stands with its group. */
export interface SeatState {
  /** `joined`, or `lost` from when the session or the key is lost until the member has joined again. */
  readonly state: "joined" | "lost";
  /** The member's token, or the last that it had; another one says that it was gone in between, and stands last now. */
  readonly token: bigint;
  /** Which of the conclave's sessions keeps it, or did last. */
  readonly epoch: number;
}

/** A member's own seat in a group, kept until it is left. While it is lost the others may see the member go. */
export class Seat implements AsyncIterable<SeatState>, AsyncDisposable {
  /** The member's id: made up, and kept for as long as the seat is. */
  readonly id: string;
  readonly #context: Context;
  readonly #kept: KeptKey<Uint8Array>;
  #known: SeatState;

  /** The seat that a kept key is. */
  constructor(context: Context, id: string, kept: KeptKey<Uint8Array>) {
    this.id = id;
    this.#context = context;
    this.#kept = kept;
    this.#known = { state: "lost", token: 0n, epoch: 0 };
  }

  /** As this process knows it, without I/O: right in the first line after the process was stopped or busy. */
  get state(): SeatState {
    const { standing } = this.#kept;
    const state = standing ? "joined" : "lost";
    const token = standing ? tokenOf(standing.created) : this.#known.token;
    const epoch = standing ? standing.session.epoch : this.#known.epoch;
    const known = this.#known;
    if (known.state !== state || known.token !== token || known.epoch !== epoch) this.#known = { state, token, epoch };
    return this.#known;
  }

  /** The token of the member's place in the order, or of the last it had. */
  get token(): bigint {
    return this.state.token;
  }

  /** Whether the others cannot have seen it go. */
  isJoined(): boolean {
    return this.state.state === "joined";
  }

  /** Aborts with `NOT_HELD` when another program wrote the seat's key; the seat then is over. */
  get signal(): AbortSignal {
    return this.#kept.signal;
  }

  /**
   * Changes what the others know of this member, in one round trip; its id, place and token stay.
   *
   * Rejects with `NOT_HELD` after `leave`, with `UNAVAILABLE` when the store does not answer and nothing was changed, with
   * `signal.reason`, with `LEASE_LOST` when the session ends first, with `CLOSED`, and with `TypeError` for what JSON cannot
   * carry. The payload before it is then what is kept, though until that is written again the change may be seen.
   */
  async update(payload: Json, options: WaitOptions = {}): Promise<void> {
    checkOptions("update", options, ["signal"]);
    const value = encodeJson("payload", payload);
    await this.#kept.update(() => value, options);
  }

  /**
   * Leaves the group. Never rejects for a store that is away: the member is then taken out as soon as the store is back, and
   * goes with the session's lease at the latest. Leaving twice is fine.
   */
  leave(): Promise<void> {
    return this.#kept.remove();
  }

  /**
   * Yields the state and then each newer one, newest wins: `joined`, and `lost` and `joined` again with the next session.
   * Ends when the seat is left; rejects with `NOT_HELD` when it is over otherwise, and with `CLOSED`.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<SeatState, void, undefined> {
    const { bell } = this.#kept;
    using linked = linkSignals(this.#context.closed, this.signal);
    let shown: SeatState | undefined;
    while (!this.#kept.removed) {
      linked.signal.throwIfAborted();
      const heard = bell.rings;
      const { state } = this;
      if (state !== shown) {
        shown = state;
        yield state;
      } else await bell.after(heard, { clock: this.#context.backend.clock, signal: linked.signal });
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.leave();
  }
}
