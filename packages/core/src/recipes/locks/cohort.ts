import { wrongType } from "../../arguments.ts";
import { encode } from "../../bytes.ts";
import type { Context, WaitOptions } from "../../context.ts";
import { CoordinationError } from "../../errors.ts";
import type { Hold } from "../../hold.ts";
import { Line } from "../../line.ts";
import { leave, type Place } from "../../place.ts";
import { elapsedMs, instant } from "../../ports/clock.ts";
import { patiently } from "../../settle.ts";
import { linkSignals, onAbort } from "../../signals.ts";
import { type Grant, LocalHold } from "./local-hold.ts";

/** How long the callers of one process may pass a lock among themselves before other processes get their turn. */
export interface LocalLimits {
  /** At most so many hand-overs of one key; 0 for none. */
  readonly handovers: number;
  /** None any more once the process has had the key for so many milliseconds. */
  readonly holdMs: number;
}

/** A caller's wish for the lock. */
interface Wish {
  /** Has not aborted yet. */
  readonly signal: AbortSignal | undefined;
  /** What also ends the hold. */
  readonly until?: AbortSignal | undefined;
  readonly limits: LocalLimits;
}

/** A caller who waits. */
interface Waiter extends Wish {
  grant(hold: Hold): void;
  refuse(reason: unknown): void;
}

const cohorts = new WeakMap<Context, Map<string, Cohort>>();

/**
 * Those of one process who want the same lock. They share one key in its line, and queue for that key among themselves:
 *
 *   1. the first who wants the lock has the cohort take a place in line; who comes later queues behind, and who gives up
 *      leaves the queue only. When all have given up, so does the cohort;
 *   2. when it is the place's turn, the first in the queue holds the lock;
 *   3. who releases it hands the key to the next in the queue, without a word to the store, and with a larger token;
 *   4. after `handovers` times, or `holdMs`, the key is given back, and in the same commit a new place taken at the end
 *      of the line, so that other processes get their turn.
 *
 * A hold that was lost is never handed over, nor one that guarded a transaction: the store could not tell the next
 * holder's transactions from a late one of its own. Who queues when the session is lost is refused, as who waits in line.
 *
 * These are the cohort locks of Dice, Marathe and Shavit, "Lock Cohorting" (PPoPP 2012), with processes for clusters.
 */
export class Cohort {
  readonly #context: Context;
  readonly #prefix: string;
  readonly #line: Line;
  /** First come, first served. */
  readonly #waiting = new Set<Waiter>();
  /** Who has the lock. */
  #grant: Grant | undefined;
  /** The taking of a place for those who wait. */
  #taking: AbortController | undefined;
  /** Somebody tries for the lock without waiting. */
  #trying = false;

  private constructor(context: Context, prefix: string) {
    this.#context = context;
    this.#prefix = prefix;
    this.#line = new Line(context, { own: prefix });
  }

  /** The one of a lock, to be used at once: nobody keeps one that has nothing to do. */
  static of(context: Context, prefix: string): Cohort {
    const known = cohorts.get(context) ?? new Map<string, Cohort>();
    cohorts.set(context, known);
    const cohort = known.get(prefix) ?? new Cohort(context, prefix);
    known.set(prefix, cohort);
    return cohort;
  }

  /** Waits for the lock in the order of calls. Rejects with `signal.reason` at once, and as `Line.take`. */
  acquire(wish: Wish): Promise<Hold> {
    return new Promise<Hold>((resolve, reject) => {
      this.#noticeLoss();
      const leaveQueue = () => {
        this.#waiting.delete(waiter);
        link[Symbol.dispose]();
      };
      const refuse = (reason: unknown) => {
        leaveQueue();
        reject(reason);
      };
      const grant = (hold: Hold) => {
        leaveQueue();
        resolve(hold);
      };
      const waiter: Waiter = { ...wish, grant, refuse };
      const link = onAbort(wish.signal, () => {
        refuse(wish.signal?.reason);
        this.#proceed();
      });
      this.#waiting.add(waiter);
      this.#proceed();
    });
  }

  /** The lock if nobody has it or waits for it, here or elsewhere. */
  async tryAcquire({ signal }: WaitOptions): Promise<Hold | undefined> {
    this.#noticeLoss();
    if (this.#isBusy) return undefined;
    this.#trying = true;
    try {
      const place = await this.#line.takeIfFree(this.#value, { signal });
      return place && this.#hold(this.#granted(place));
    } catch (error) {
      // What failed for the store's sake fails for those who came meanwhile.
      if (!signal?.aborted) this.#refuseAll(error);
      throw error;
    } finally {
      this.#trying = false;
      this.#proceed();
    }
  }

  /** One more hold of what is held already. */
  static reenter(context: Context, prefix: string, held: unknown, until?: AbortSignal): Hold {
    const giver = held instanceof LocalHold ? held.grant.giver : undefined;
    const ours = giver instanceof Cohort && giver.#context === context && giver.#prefix === prefix;
    if (!(held instanceof LocalHold && ours)) throw wrongType("reenter", held, "a hold of this mutex");
    if (!held.isHeld())
      throw new CoordinationError("NOT_HELD", `reenter needs a hold, and ${held.key} is held no more`);
    return giver.#hold(held.grant, until);
  }

  async released(grant: Grant, hold: LocalHold): Promise<void> {
    grant.holds.delete(hold);
    if (grant.holds.size > 0) return this.lost(grant);
    if (this.#grant !== grant) return leave(grant.place);
    this.#grant = undefined;
    const next = this.#next();
    if (next && this.#mayHandOver(grant, next)) {
      this.#pass({ ...grant, handovers: grant.handovers + 1, holds: new Set() }, next);
    } else {
      this.#proceed(grant.place);
      if (!next) await leave(grant.place);
    }
  }

  lost(grant: Grant): void {
    if (this.#grant !== grant || [...grant.holds].some((hold) => hold.isHeld())) return;
    this.#grant = undefined;
    const { session } = grant.place;
    if (!session.isAlive()) this.#refuseAll(session.signal.reason);
    this.#proceed();
  }

  /** What was lost while no timer could fire is not to be waited for. */
  #noticeLoss(): void {
    for (const hold of this.#grant?.holds ?? []) hold.isHeld();
  }

  get #isBusy(): boolean {
    return this.#trying || this.#grant !== undefined || this.#waiting.size > 0;
  }

  get #value(): Uint8Array {
    return encode(this.#context.owner);
  }

  /** Has a place taken while somebody waits and nobody here has the lock, and not otherwise. */
  #proceed(instead?: Place): void {
    if (this.#waiting.size === 0) {
      this.#taking?.abort(new CoordinationError("CLOSED", "nobody waits for this place any more"));
      this.#taking = undefined;
      const known = cohorts.get(this.#context);
      if (!this.#isBusy && known?.get(this.#prefix) === this) known.delete(this.#prefix);
    } else if (!this.#grant && !this.#taking && !this.#trying) void this.#take(instead);
  }

  async #take(instead?: Place): Promise<void> {
    const taking = new AbortController();
    this.#taking = taking;
    try {
      const place = await this.#takePlace(taking.signal, instead);
      const next = this.#taking === taking ? this.#next() : undefined;
      if (this.#taking === taking) this.#taking = undefined;
      if (next) this.#pass(this.#granted(place), next);
      else {
        void leave(place);
        this.#proceed();
      }
    } catch (error) {
      if (this.#taking !== taking) return;
      this.#taking = undefined;
      this.#refuseAll(error);
      this.#proceed();
    }
  }

  /** Who waited while the lock was ours has a place in line already, so that an outage only delays the next one. */
  async #takePlace(signal: AbortSignal, instead?: Place): Promise<Place> {
    using linked = linkSignals(signal, instead?.session.signal);
    const take = () => this.#line.take(this.#value, { signal: linked.signal }, instead);
    return await (instead ? patiently(this.#context.backend.clock, linked.signal, take) : take());
  }

  /** The first in the queue; one whose signal has just aborted is there no more. */
  #next(): Waiter | undefined {
    for (const waiter of this.#waiting) {
      if (!waiter.signal?.aborted) return waiter;
      waiter.refuse(waiter.signal.reason);
    }
    return undefined;
  }

  #granted(place: Place): Grant {
    const since = instant(this.#context.backend.clock);
    return { giver: this, place, since, handovers: 0, holds: new Set(), guarded: false };
  }

  #mayHandOver({ handovers, since, guarded }: Grant, { limits }: Waiter): boolean {
    if (guarded || handovers >= limits.handovers) return false;
    return elapsedMs(this.#context.backend.clock, since) < limits.holdMs;
  }

  #pass(grant: Grant, next: Waiter): void {
    try {
      next.grant(this.#hold(grant, next.until));
    } catch (error) {
      // The session has just ended.
      this.#refuseAll(error);
      this.#proceed();
    }
  }

  #hold(grant: Grant, until?: AbortSignal): LocalHold {
    const hold = new LocalHold(this.#context.backend, grant, until);
    grant.holds.add(hold);
    this.#grant = grant;
    return hold;
  }

  #refuseAll(reason: unknown): void {
    for (const waiter of [...this.#waiting]) waiter.refuse(reason);
  }
}
