import { callOptions, checkMs, checkOptions, wrongType } from "../../arguments.ts";
import { Bell } from "../../bell.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { encodeJson, type Json } from "../../json.ts";
import type { CallOptions, Listing } from "../../ports/kv.ts";
import { linkSignals } from "../../signals.ts";
import { checkLetters, type DeadLetter, type DeadLetterOptions, DeadLetters } from "./dead-letters.ts";
import { Job } from "./job.ts";
import { Claims, jobsPerClaim } from "./queue-claims.ts";
import { type Draft, Intake } from "./queue-intake.ts";
import { checkCount, checkDelay, checkPriority, type ItemOptions, QueueKeys } from "./queue-item.ts";

/** What all who use a queue should agree on; each goes by what it was told itself. */
export interface QueueOptions {
  /** How often an item is delivered before it becomes a dead letter; 5 by default. */
  readonly maxDeliveries?: number | undefined;
  /**
   * How many milliseconds a job may take before it is delivered anew, if it is not extended. Without it a job may take as
   * long as its worker's session lives.
   */
  readonly visibilityMs?: number | undefined;
  /** How many items, claimed ones too, the queue takes from this process before `enqueue` waits; at most 10,000. */
  readonly maxLength?: number | undefined;
}

/** How to enqueue one value. */
export interface EnqueueOptions extends ItemOptions, WaitOptions {}

/** One of several values to enqueue at once. */
export interface NewItem<T extends Json = Json> extends ItemOptions {
  readonly value: T;
}

/** How many items are where; for people, since it is out of date when it arrives. */
export interface QueueCounts {
  /** Not claimed, delayed ones too. */
  readonly waiting: number;
  readonly claimed: number;
  readonly dead: number;
}

/**
 * A queue of work: each item is delivered to one worker at a time, at least once, until one acknowledges it.
 *
 *   1. to enqueue, put the payload and an item in the index, in one commit that is applied once, whatever becomes of its
 *      answer;
 *   2. to take a job, claim an item that is due on our session's lease, and count the delivery (see `queue-claims.ts`);
 *   3. to acknowledge it, delete claim, item and payload, if the claim is still that incarnation;
 *   4. when the worker dies, its claim goes with its lease, and the item is delivered anew;
 *   5. what was delivered `maxDeliveries` times becomes a dead letter, to be looked at, redriven or discarded.
 *
 * First in, first out for one consumer, within a priority; with several, those at the head may overtake each other. An
 * item given back keeps its place. A bounded queue has numbered places (see `queue-intake.ts`).
 *
 * The life of an item is that of Atomix' work queue and of Amazon SQS; that a claim is fenced by the revision that made
 * it, so that a late worker cannot acknowledge what another has by now, is neither's.
 */
export class Queue<T extends Json = Json> {
  readonly #context: Context;
  readonly #keys: QueueKeys;
  readonly #claims: Claims;
  readonly #letters: DeadLetters;
  readonly #intake: Intake;

  constructor(context: Context, name: Name, options: QueueOptions = {}) {
    this.#keys = new QueueKeys(roomyPrefixOf("queue", name, context.backend.limits));
    checkOptions("queue", options, ["maxDeliveries", "visibilityMs", "maxLength"]);
    const { maxDeliveries = 5, visibilityMs, maxLength } = options;
    checkCount("maxDeliveries", maxDeliveries, 1_000_000);
    if (visibilityMs !== undefined) checkMs("visibilityMs", visibilityMs);
    if (maxLength !== undefined) checkCount("maxLength", maxLength, 10_000);
    this.#context = context;
    this.#intake = new Intake(context, this.#keys, maxLength);
    this.#claims = new Claims(context, this.#keys, { maxDeliveries, visibilityMs });
    this.#letters = new DeadLetters(context, this.#keys);
  }

  /**
   * Puts a value in the queue, and gives its id, in one round trip. While a bounded queue is full it waits, and an abort
   * then leaves nothing behind.
   *
   * Rejects with `UNAVAILABLE`, `LEASE_LOST`, `LIMIT` or `DENIED` when surely nothing was enqueued, with `OUTCOME_UNKNOWN`
   * when the session ended before the store said, with `CLOSED`, with `signal.reason`, after which what was sent already
   * may have been enqueued, and with `TypeError` or `RangeError` for what JSON cannot carry, or is too large: about 448 KiB.
   */
  async enqueue(value: T, options: EnqueueOptions = {}): Promise<string> {
    checkOptions("enqueue", options, ["priority", "delayMs", "signal"]);
    const { priority, delayMs, signal } = options;
    const id = this.#context.backend.clock.id();
    await this.#intake.enqueue([this.#draft(id, "value", { value, priority, delayMs })], signal);
    return id;
  }

  /**
   * Enqueues several values at once, all or none, in one round trip; gives their ids. They are delivered in this order,
   * within a priority. At most 49, or 33 in a bounded queue, and 448 KiB of JSON. Rejects as `enqueue`.
   */
  async enqueueAll(items: readonly NewItem<T>[], options: WaitOptions = {}): Promise<readonly string[]> {
    checkOptions("enqueueAll", options, ["signal"]);
    if (!Array.isArray(items)) throw wrongType("items of enqueueAll", items, "an array");
    if (items.length === 0) return [];
    checkCount("the number of items of enqueueAll", items.length, this.#intake.mostItems);
    const batch = this.#context.backend.clock.id();
    const drafts = items.map((item: unknown, index) => {
      const argument = `items[${index}]`;
      if (typeof item !== "object" || item === null) throw wrongType(argument, item, "an object with a value");
      checkOptions(argument, item, ["value", "priority", "delayMs"]);
      // Those of one commit are ordered by their ids.
      const id = `${batch}-${String(index).padStart(2, "0")}`;
      return this.#draft(id, `value of ${argument}`, item as NewItem<T>);
    });
    await this.#intake.enqueue(drafts, options.signal);
    return drafts.map(({ id }) => id);
  }

  /**
   * Waits for a job, for as long as it takes; in one round trip when one is due and this process has claimed from the
   * queue in the last half minute. While it waits it holds nothing, so outages and lost sessions only delay it.
   *
   * Rejects with `UNAVAILABLE` when the store does not answer at the start, with `signal.reason`, with `CLOSED`, and with
   * `DENIED` as the store says.
   */
  async claim(options: WaitOptions = {}): Promise<Job<T>> {
    checkOptions("claim", options, ["signal"]);
    const [job] = await this.#claims.wait(1, options.signal);
    return job as Job<T>;
  }

  /** A job if one is due, and otherwise undefined. Rejects as `claim`, and with `UNAVAILABLE`, `LEASE_LOST` or `LIMIT` at any time. */
  async tryClaim(options: WaitOptions = {}): Promise<Job<T> | undefined> {
    checkOptions("tryClaim", options, ["signal"]);
    return (await this.#claims.now(options.signal)) as Job<T> | undefined;
  }

  /** As `claim`, and takes up to so many that are due, at most 33, in the same round trip; at least one. */
  async claimAll(options: WaitOptions & { readonly atMost: number }): Promise<readonly Job<T>[]> {
    checkOptions("claimAll", options, ["atMost", "signal"]);
    const { atMost, signal } = options ?? {};
    checkCount("atMost of claimAll", atMost, jobsPerClaim);
    return (await this.#claims.wait(atMost, signal)) as readonly Job<T>[];
  }

  /**
   * Acknowledges jobs, 24 in a round trip. Gives those that were lost, and are, or were, delivered anew; empty when all is
   * well. Rejects as `Job.ack`; then each was acknowledged, or not.
   */
  async ackAll(jobs: readonly Job<T>[], options: WaitOptions = {}): Promise<readonly Job<T>[]> {
    checkOptions("ackAll", options, ["signal"]);
    if (!Array.isArray(jobs) || !jobs.every((job) => job instanceof Job))
      throw wrongType("jobs of ackAll", jobs, "an array of jobs");
    return (await Job.ackAll(jobs, options)) as readonly Job<T>[];
  }

  /**
   * Yields one job after another, and never has more than `concurrency` (1 by default) that have not ended: it waits until
   * one is acknowledged, given back or lost. So with 1, end each job in the loop; with more, start its work and let it end
   * itself. Outages and lost sessions only delay it. When the loop is left, jobs that have not ended are given back, and
   * their signals abort.
   *
   * Rejects as `claim`: with `signal.reason`, `CLOSED`, or `DENIED`.
   */
  async *consume(
    options: WaitOptions & { readonly concurrency?: number | undefined } = {},
  ): AsyncGenerator<Job<T>, void> {
    checkOptions("consume", options, ["concurrency", "signal"]);
    const { concurrency = 1, signal } = options;
    checkCount("concurrency of consume", concurrency, 10_000);
    const { backend, closed } = this.#context;
    using linked = linkSignals(signal, closed);
    const open = new Set<Job>();
    const bell = new Bell();
    try {
      for (;;) {
        const before = bell.rings;
        if (open.size >= concurrency) await bell.after(before, { clock: backend.clock, signal: linked.signal });
        if (open.size >= concurrency) continue;
        const [job] = (await this.#claims.wait(1, linked.signal)) as readonly [Job<T>];
        open.add(job);
        void job.ended.then(() => {
          open.delete(job);
          bell.ring();
        });
        yield job;
      }
    } finally {
      await Promise.all([...open].map((job) => job.abandon()));
    }
  }

  /** How many items are waiting, claimed and dead, in one round trip. Needs no session. Rejects as `kv.list`. */
  async counts(options: CallOptions = {}): Promise<QueueCounts> {
    checkOptions("counts", options, callOptions);
    const { items, claims, dead } = this.#keys;
    const reads = [items, claims, dead].map((prefix) => ({ list: prefix, keysOnly: true }));
    const { results } = await this.#context.backend.kv.commit({ then: reads }, options);
    const [all = 0, claimed = 0, died = 0] = (results as readonly Listing[]).map(({ entries }) => entries.length);
    return { waiting: Math.max(0, all - claimed), claimed, dead: died };
  }

  /**
   * Items that nobody could process, a page at a time, in no order that means anything: one round trip, and one for each
   * payload. Rejects as `kv.list`.
   */
  async deadLetters(options: DeadLetterOptions = {}): Promise<readonly DeadLetter<T>[]> {
    checkOptions("deadLetters", options, [...callOptions, "limit", "startAfter"]);
    return (await this.#letters.page(options)) as readonly DeadLetter<T>[];
  }

  /**
   * Puts dead letters, all of them when none are named, at the end of the queue, as if they had never been delivered;
   * gives how many there were. A bounded queue takes them beyond its bound. Rejects as `enqueue`; some may then be moved.
   */
  async redrive(ids?: readonly string[], options: CallOptions = {}): Promise<number> {
    checkLetters("redrive", ids ?? [], options);
    return this.#letters.redrive(ids, options);
  }

  /** Removes dead letters for good; gives how many there were. Rejects as `redrive`. */
  async discardDead(ids: readonly string[], options: CallOptions = {}): Promise<number> {
    checkLetters("discardDead", ids, options);
    return this.#letters.discard(ids, options);
  }

  /** An item as it is to be written; only its place, in a bounded queue, is not known yet. */
  #draft(id: string, argument: string, { value, priority = 0, delayMs = 0 }: NewItem): Draft {
    checkPriority(`priority${argument === "value" ? "" : ` of ${argument.slice(9)}`}`, priority);
    checkDelay(`delayMs${argument === "value" ? "" : ` of ${argument.slice(9)}`}`, delayMs);
    const payload = encodeJson(argument, value);
    const enqueuedAtMs = this.#context.backend.clock.wallMs();
    const availableAtMs = delayMs === 0 ? 0 : enqueuedAtMs + delayMs;
    return { id, payload, meta: { priority, enqueuedAtMs, availableAtMs, deliveries: 0, bytes: payload.length } };
  }
}
