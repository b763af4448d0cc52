import {
  abortable,
  backoffMs,
  type CallOptions,
  type Clock,
  CoordinationError,
  onAbort,
  sleep,
} from "@conclave/core/backend";
import type { Link, Reply, ScriptCall } from "./link.ts";
import { type Effect, failureOf, movedTo, NotSent, verdictOn } from "./outcome.ts";
import type { Route } from "./route.ts";

/** What a connection is for, and what operators see in CLIENT LIST. */
export type Purpose = "calls" | "leases" | "events";

/** How long a server may be silent with a question open; a renewal must have the time to be repeated elsewhere. */
const patienceMs: Record<Purpose, number> = { calls: 2_000, leases: 1_000, events: 2_000 };
const longestRestMs: Record<Purpose, number> = { calls: 1_000, leases: 250, events: 1_000 };
/** A link that lasted so long was a good one, in milliseconds. */
const goodLifeMs = 5_000;
const redirectsAtOnce = 3;
/** A write that was surely refused is not sent again with less time than this, to end as undone rather than as unknown. */
const shortestWriteMs = 100;

/**
 * A way to the primary that lasts: it keeps one link, opens the next when that ends, and repeats what may be repeated.
 * Every call has a deadline.
 */
export class Connection {
  readonly route: Route;
  readonly #purpose: Purpose;
  readonly #clock: Clock;
  readonly #callTimeoutMs: number;
  readonly #closed = new AbortController();
  #link: Link | undefined;
  #openedMs = 0;
  #opening: Promise<Link> | undefined;
  #failures = 0;
  #restsUntilMs = Number.NEGATIVE_INFINITY;

  constructor(route: Route, purpose: Purpose) {
    this.route = route;
    this.#purpose = purpose;
    this.#clock = route.settings.clock;
    this.#callTimeoutMs = route.settings.callTimeoutMs;
  }

  /** Aborts, with `CLOSED`, when this is closed. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /**
   * Runs a script: reads again and again until the deadline, writes once unless they were surely not applied. Rejects with
   * `UNAVAILABLE`, `OUTCOME_UNKNOWN`, `DENIED`, `LIMIT`, `CLOSED`, or the signal's reason.
   */
  run(call: ScriptCall, options?: CallOptions): Promise<Reply> {
    return this.#attempt(call, options, async (link) => this.#answered(await link.run(call)));
  }

  /** One plain command that only reads, with the deadline and the errors of `run`. */
  ask(command: string, args: readonly string[], options?: CallOptions): Promise<Reply> {
    const call = { name: command, effect: "read" } as const;
    return this.#attempt(call, options, async (link) => this.#answered(await link.send(command, args)));
  }

  /**
   * The present link, or the next one, for whoever must know that two commands go over one connection, such as the reader
   * of the stream. Waits for it as `run` does, with the same errors, and pauses between one that ended and the next.
   */
  link(options?: CallOptions): Promise<Link> {
    return this.#attempt({ name: "connect", effect: "read" }, options, async (link) => link);
  }

  /** Turns away from a server that is no primary any more, if that is what the error says; `run` does so itself. */
  heed(link: Link, error: unknown): void {
    const moved = movedTo(error);
    if (moved !== undefined) this.route.moved(link.node, moved);
    else if (verdictOn(error).elsewhere) this.route.left(link.node);
  }

  /** Rejects what is pending with `CLOSED` and lets go of every socket. */
  close(): void {
    this.#closed.abort(new CoordinationError("CLOSED", "the redis backend was closed"));
  }

  async #attempt<T>(
    call: { readonly name: string; readonly effect: Effect },
    { signal, timeoutMs = this.#callTimeoutMs }: CallOptions = {},
    work: (link: Link) => Promise<T>,
  ): Promise<T> {
    const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
    const given = new AbortController();
    let [isLate, isSent] = [false, false];
    using _timer = this.#clock.after(timeoutMs, () => {
      isLate = true;
      given.abort(new Error(`no answer within ${Math.round(timeoutMs)} ms`));
    });
    using _closed = onAbort(this.closed, () => given.abort(this.closed.reason));
    // Whoever aborts a write that was sent still needs to know how it ended.
    using _signal = onAbort(signal, () => {
      if (!isSent || call.effect === "read") given.abort(signal?.reason);
    });
    this.closed.throwIfAborted();
    signal?.throwIfAborted();
    let [maybeApplied, tries] = [false, 0];
    let failure: unknown;
    for (;;) {
      let link: Link | undefined;
      try {
        if (tries > redirectsAtOnce || (tries > 0 && movedTo(failure) === undefined && !(failure instanceof NotSent))) {
          await sleep(this.#clock, backoffMs(this.#clock, tries, 250), given.signal);
        }
        const ready = this.#link?.isOpen ? this.#link : await abortable(this.#ready(), given.signal);
        const isTooLate = this.#clock.monotonicMs() > deadlineMs - shortestWriteMs;
        if (tries > 0 && call.effect === "write" && isTooLate) throw failureOf(failure, call, maybeApplied);
        link = ready;
        isSent = true;
        return await abortable(work(link), given.signal);
      } catch (error) {
        this.closed.throwIfAborted();
        const verdict = verdictOn(error);
        const untouched = link === undefined || verdict.untouched;
        isSent = false;
        if (!untouched) maybeApplied = true;
        if (signal?.aborted && (untouched || call.effect === "read")) throw signal.reason;
        if (link !== undefined) this.heed(link, error);
        // A deadline that passed before anything was sent says less than what had prevented it.
        if (failure === undefined || !untouched || !isLate) failure = error;
        const isOver = isLate || signal?.aborted || verdict.code !== undefined;
        if (isOver || (maybeApplied && call.effect === "write")) throw failureOf(failure, call, maybeApplied);
        tries++;
      }
    }
  }

  /** The link, once there is one; all who wait share one attempt to open it. */
  #ready(): Promise<Link> {
    if (this.#opening === undefined) {
      this.#opening = this.#open().finally(() => {
        this.#opening = undefined;
      });
      this.#opening.catch(() => {});
    }
    return this.#opening;
  }

  async #open(): Promise<Link> {
    this.closed.throwIfAborted();
    if (this.#link?.ended.aborted) this.#failed();
    this.#link = undefined;
    const restMs = this.#restsUntilMs - this.#clock.monotonicMs();
    if (restMs > 0) await sleep(this.#clock, restMs, this.closed);
    try {
      this.#link = await this.route.open(this.#purpose, patienceMs[this.#purpose], this.closed);
      this.#openedMs = this.#clock.monotonicMs();
      return this.#link;
    } catch (error) {
      this.#failed();
      throw error;
    }
  }

  #answered(reply: Reply): Reply {
    this.#failures = 0;
    return reply;
  }

  #failed(): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#link !== undefined && nowMs - this.#openedMs > goodLifeMs) this.#failures = 0;
    this.#failures++;
    this.#restsUntilMs = nowMs + backoffMs(this.#clock, this.#failures, longestRestMs[this.#purpose]);
  }
}
