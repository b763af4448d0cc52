import { checkContent, checkMs, checkOptions } from "../../arguments.ts";
import type { Context, WaitOptions } from "../../context.ts";
import { CoordinationError } from "../../errors.ts";
import { Hold } from "../../hold.ts";
import type { Json } from "../../json.ts";
import type { Place } from "../../place.ts";
import { elapsedMs, type Instant } from "../../ports/clock.ts";
import type { Delete, Put, Revision } from "../../ports/kv.ts";
import type { OnceTxn } from "../../receipts.ts";
import { settle } from "../../settle.ts";
import { linkSignals } from "../../signals.ts";
import {
  burial,
  type Claim,
  checkDelay,
  encodeRecord,
  exhaustion,
  type Meta,
  type QueueKeys,
  recordOf,
  withdrawal,
} from "./queue-item.ts";

/** How to give a job back. */
export interface NackOptions extends WaitOptions {
  /** How many milliseconds it is not delivered; 0 by default. */
  readonly delayMs?: number | undefined;
  /** Why, for people who look at the dead letters. */
  readonly reason?: string | undefined;
}

/** A claim that the store has granted, and what is known of its item. */
export interface Claimed {
  readonly context: Context;
  readonly keys: QueueKeys;
  readonly maxDeliveries: number;
  readonly place: Place;
  readonly id: string;
  /** As the claim wrote it. */
  readonly meta: Meta;
  readonly claim: Claim;
  /** Shortly before the claim was sent. */
  readonly since: Instant;
  /** For how long it counts; for ever, as long as the session lives, when absent. */
  readonly visibilityMs: number | undefined;
}

/** How many jobs one commit acknowledges: a receipt, and of each the claim, the item, its place and its payload. */
const jobsPerAck = 24;

/**
 * A job that was delivered to you, and to nobody else while `isHeld()` says so; with `signal`, `token` and `guard` as any
 * hold. End it: `ack` when its work is done, `nack` when it is not. Disposing or releasing it gives it back at once, to
 * be delivered anew. It is lost, and delivered to another, when the session ends, when its visibility timeout passes, or
 * when somebody deletes its claim; stop when `signal` aborts.
 */
export class Job<T extends Json = Json> extends Hold {
  /** What `enqueue` gave. */
  readonly id: string;
  readonly value: T;
  readonly priority: number;
  /** Which delivery this is, counted from 1. More than 1: an earlier one was given back, or its worker died. */
  readonly deliveries: number;
  /** When it was put in the queue, by the wall clock of whoever did. */
  readonly enqueuedAtMs: number;
  /** Resolves when it has ended: acknowledged, given back, or lost. */
  readonly ended: Promise<void>;
  readonly #claimed: Claimed;
  readonly #end: () => void;
  #since: Instant;
  #visibilityMs: number | undefined;
  #expiry: Disposable | undefined;
  /** When its claim was last written. */
  #modified: Revision;
  #ending = false;
  #finishing: Promise<unknown> | undefined;
  /** Its claim is gone, or going. */
  #settled = false;
  /** Why it was lost while it was being ended. */
  #lostMeanwhile: { readonly reason: unknown } | undefined;

  /** For the queue. Throws why the session ended, if it has. */
  constructor(claimed: Claimed, value: T) {
    const { context, place, id, meta, since, visibilityMs } = claimed;
    super(context.backend, place);
    this.id = id;
    this.value = value;
    this.priority = meta.priority;
    this.deliveries = meta.deliveries;
    this.enqueuedAtMs = meta.enqueuedAtMs;
    this.#claimed = claimed;
    this.#modified = place.created;
    this.#since = since;
    this.#visibilityMs = visibilityMs;
    let end = () => {};
    this.ended = new Promise((resolve) => {
      end = resolve;
    });
    this.#end = end;
    this.#arm();
  }

  /** Whether it cannot yet be delivered to another: true only until then, even straight after the process stood still. */
  override isHeld(): boolean {
    return super.isHeld() && this.#remainingMs() > 0;
  }

  /**
   * Says that its work is done: the item is gone, in one round trip. When it resolves, the job is never delivered again.
   *
   * Rejects with `NOT_HELD` when the job was lost: another may be at it, or have done it. With `UNAVAILABLE` when the store
   * does not answer and nothing was changed, so that it may be tried again; with `OUTCOME_UNKNOWN` when the session ended
   * before the store said; and with `signal.reason`, after which it may have been acknowledged.
   */
  async ack(options: WaitOptions = {}): Promise<void> {
    checkOptions("ack", options, ["signal"]);
    this.#begin("ack");
    const [lost] = await Job.#acknowledge([this], options);
    if (lost) throw this.#gone("ack");
  }

  /**
   * Acknowledges all that are still held, so many in one commit, and gives the others: they were lost, and are, or were,
   * delivered anew. Rejects as `ack` does; then each was acknowledged, or not.
   */
  static async ackAll(jobs: readonly Job[], options: WaitOptions): Promise<readonly Job[]> {
    const late: Job[] = [];
    const held = [...new Set(jobs)].filter((job) => {
      const isHeld = job.isHeld() && !job.#ending;
      if (!isHeld) late.push(job);
      return isHeld;
    });
    for (let from = 0; from < held.length; from += jobsPerAck) {
      const some = held.slice(from, from + jobsPerAck).filter((job) => job.isHeld() || late.push(job) === 0);
      for (const job of some) job.#begin("ackAll");
      late.push(...(await Job.#acknowledge(some, options)));
    }
    return late;
  }

  /**
   * Gives it back, in one round trip: it is delivered anew, after `delayMs`. If it was delivered as often as it may be, it
   * becomes a dead letter instead, in the same commit. Rejects as `ack` does.
   */
  async nack(options: NackOptions = {}): Promise<void> {
    checkOptions("nack", options, ["delayMs", "reason", "signal"]);
    const { delayMs = 0, reason } = options;
    checkDelay("delayMs of nack", delayMs);
    if (reason !== undefined) checkContent("reason of nack", reason);
    this.#begin("nack");
    const { context, keys, id, maxDeliveries } = this.#claimed;
    const nowMs = context.backend.clock.wallMs();
    const meta: Meta = {
      ...this.#claimed.meta,
      availableAtMs: delayMs === 0 ? 0 : nowMs + delayMs,
      reason: reason ?? this.#claimed.meta.reason,
    };
    const item: (Put | Delete)[] =
      meta.deliveries >= maxDeliveries
        ? burial(keys, id, meta, exhaustion(meta), nowMs)
        : [{ put: keys.item(id), value: encodeRecord(meta) }];
    // The item is as the claim left it, unless somebody changed it by hand.
    const untouched = { key: keys.item(id), modified: this.place.created };
    const [lost] = await Job.#finish([this], { if: [untouched], then: item }, options);
    if (lost) throw this.#gone("nack");
  }

  /**
   * Has it for so many milliseconds from now, in one round trip, rather than for its queue's `visibilityMs`. Rejects with
   * `NOT_HELD` when it was lost, with `UNAVAILABLE` when the store does not answer and nothing was changed, and with
   * `signal.reason`, after which it may have been extended for others, while this process counts on the time it had.
   */
  async extend(visibilityMs: number, options: WaitOptions = {}): Promise<void> {
    checkMs("visibilityMs of extend", visibilityMs);
    checkOptions("extend", options, ["signal"]);
    this.throwUnlessHeld("extend");
    const { context, claim } = this.#claimed;
    const { kv, clock } = this.backend;
    const since: Instant = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
    const value = encodeRecord({ ...claim, attempt: context.backend.clock.id(), untilMs: since.wallMs + visibilityMs });
    using linked = linkSignals(options.signal, this.signal);
    const { signal } = linked;
    const write = { put: this.key, value, lease: this.session.lease };
    const attempt = recordOf<Claim>(value)?.attempt;
    for (;;) {
      // Not by `created` alone: an earlier extension that arrives late must not take this one back.
      const condition = { key: this.key, modified: this.#modified };
      const txn = { if: [condition], then: [write], else: [{ get: this.key }] } as const;
      const commit = await settle(clock, signal, () => kv.commit(txn, { signal }));
      const entry = commit.succeeded ? undefined : commit.results[0];
      if (!commit.succeeded && entry?.created !== this.place.created) {
        const reason = this.#gone("extend");
        this.lose(reason);
        throw reason;
      }
      this.#modified = entry?.modified ?? commit.revision;
      if (entry === undefined || recordOf<Claim>(entry.value)?.attempt === attempt) break;
    }
    this.#since = since;
    this.#visibilityMs = visibilityMs;
    this.#arm();
  }

  /** Gives up what its consumer left unfinished: aborts `signal`, and resolves once it was given back, as `release`. */
  async abandon(): Promise<void> {
    // What is being ended already may end well.
    if (this.#ending) await this.#finishing?.catch(() => {});
    if (!this.isHeld()) return;
    super.lose(new CoordinationError("NOT_HELD", `the loop that the job ${this.id} came from was left`));
    await this.giveBack(true);
  }

  static #acknowledge(jobs: readonly Job[], options: WaitOptions): Promise<readonly Job[]> {
    const gone = jobs.flatMap((job) => {
      const { keys, id, meta } = job.#claimed;
      return [...withdrawal(keys, id, meta), { delete: keys.data(id) }];
    });
    return Job.#finish(jobs, { then: gone }, options);
  }

  /** Ends those of the jobs that are still held, in one commit if all are, and gives the others. */
  static #finish(jobs: readonly Job[], change: OnceTxn, options: WaitOptions): Promise<readonly Job[]> {
    const finishing = Job.#commit(jobs, change, options);
    for (const job of jobs) job.#finishing = finishing;
    return finishing;
  }

  static async #commit(
    jobs: readonly Job[],
    { if: conditions = [], then }: OnceTxn,
    { signal }: WaitOptions,
  ): Promise<readonly Job[]> {
    const [first] = jobs;
    if (first === undefined) return [];
    const claims = jobs.map(({ key, place: { created } }) => ({ key, created }));
    try {
      const done = await first.#claimed.context.receipts.commit(
        {
          if: [...claims, ...conditions],
          then: [...claims.map(({ key }) => ({ delete: key })), ...then],
          else: claims.map(({ key }) => ({ get: key })),
        },
        { signal },
      );
      if (done.applied) {
        await Promise.all(jobs.map((job) => job.#settle()));
        return [];
      }
      const others = jobs.filter((job, index) => done.results[index]?.created === job.place.created);
      // Where all have their claims, the item of the one that was to be given back is gone.
      const lost = others.length === jobs.length ? jobs : jobs.filter((job) => !others.includes(job));
      for (const job of lost) {
        job.#lostMeanwhile ??= { reason: job.#gone("it") };
        job.#resume();
      }
      return lost === jobs ? lost : [...lost, ...(await Job.#acknowledge(others, { signal }))];
    } catch (error) {
      for (const job of jobs) job.#resume();
      throw error;
    }
  }

  protected override lose(reason: unknown): void {
    // Its claim may be gone because the commit that ends it was applied: that will be known in a moment.
    if (this.#ending) {
      this.#lostMeanwhile ??= { reason };
      return;
    }
    super.lose(reason);
    void this.giveBack(false);
  }

  /** The claim goes, and the item is there for others; its deliveries stay counted. */
  protected override async giveBack(wasHeld: boolean): Promise<void> {
    this.#expiry?.[Symbol.dispose]();
    this.#end();
    if (this.#settled) return;
    this.#settled = true;
    await super.giveBack(wasHeld);
  }

  #begin(what: string): void {
    this.throwUnlessHeld(what);
    if (this.#ending) throw new CoordinationError("NOT_HELD", `${what} needs a job that is not being ended already`);
    this.#ending = true;
  }

  async #settle(): Promise<void> {
    this.#settled = true;
    this.#ending = false;
    await this.release();
  }

  /** It was not ended after all. */
  #resume(): void {
    if (!this.#ending) return;
    this.#ending = false;
    if (this.#lostMeanwhile) this.lose(this.#lostMeanwhile.reason);
  }

  #gone(what: string): CoordinationError {
    return new CoordinationError("NOT_HELD", `${what} needs a job that is held, and ${this.id} was lost`);
  }

  #remainingMs(): number {
    if (this.#visibilityMs === undefined) return Number.POSITIVE_INFINITY;
    return this.#visibilityMs - elapsedMs(this.backend.clock, this.#since);
  }

  #arm(): void {
    this.#expiry?.[Symbol.dispose]();
    const remainingMs = this.#remainingMs();
    if (remainingMs === Number.POSITIVE_INFINITY || !super.isHeld()) return;
    this.#expiry = this.backend.clock.after(Math.max(1, remainingMs), () => {
      if (this.#remainingMs() > 0) this.#arm();
      else this.lose(new CoordinationError("LEASE_LOST", `the visibility timeout of the job ${this.id} has passed`));
    });
  }
}
