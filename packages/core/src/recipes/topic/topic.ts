import { callOptions, checkCount, checkMs, checkOptions, wrongType } from "../../arguments.ts";
import { decode } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { encodeJson, type Json } from "../../json.ts";
import type { CallOptions } from "../../ports/kv.ts";
import { parseCursor, type TopicEvent, type TopicMessage } from "./message.ts";
import { Outbox } from "./outbox.ts";
import { type Beginning, Reading } from "./reading.ts";
import { Subscription } from "./subscription.ts";
import { headOf, type TopicKeep, TopicKeys } from "./topic-head.ts";

/** How a topic is kept: give all its publishers and readers the same. */
export interface TopicOptions {
  /** How much of it is kept, for those who subscribe later or read slowly. */
  readonly keep?: TopicKeep | undefined;
}

/** Where to begin. `signal` ends the subscription, whenever it aborts. */
export interface SubscribeOptions extends WaitOptions {
  /**
   * "now", the default: with what is published from when `subscribe` resolves; "start": with the oldest message kept; or
   * the cursor of a message: with what comes after it, and first a gap if some of that is gone.
   */
  readonly from?: string | undefined;
}

/** What to read. */
export interface TopicReadOptions extends CallOptions {
  /** "start", the default: the oldest message kept; or the cursor of a message: what comes after it. */
  readonly from?: string | undefined;
  /** At most so many messages, from 1 to 100; 32 by default. */
  readonly limit?: number | undefined;
}

/** Some of a topic's messages, in order. */
export interface TopicPage<T extends Json = Json> {
  /** Messages, and gaps before them. */
  readonly events: readonly TopicEvent<T>[];
  /** A read from here goes on after them. */
  readonly cursor: string;
  /** Whether there was more. */
  readonly more: boolean;
}

const defaultCount = 1_000;
const mostPerRead = 100;
/** How many topics a conclave remembers the heads of. */
const mostOutboxes = 256;

const outboxes = new WeakMap<Context, Map<string, Outbox>>();

/**
 * Messages that are kept for a while, in one order for everybody:
 *
 *   1. a publisher puts each message under the next number, by compare-and-set on the topic's head (`outbox.ts`);
 *   2. in the same commit it deletes what is then kept no more (`topic-head.ts`);
 *   3. a reader takes message after message by number, so it notices when one is missing (`reading.ts`, `subscription.ts`).
 *
 * That is the log of Kreps, Narkhede and Rao, "Kafka: a Distributed Messaging System for Log Processing" (NetDB 2011): the
 * readers, not the store, know how far they have come. Messages are on no lease, so they outlive their publisher. Whoever
 * reads gets every message that was acknowledged once and in order, or is told how many retention took from it.
 */
export class Topic<T extends Json = Json> {
  readonly #context: Context;
  readonly #keys: TopicKeys;
  readonly #keep: TopicKeep & { readonly count: number };

  constructor(context: Context, name: Name, options: TopicOptions = {}) {
    checkOptions("topic", options, ["keep"]);
    const { keep = {} } = options;
    checkOptions("keep of topic", keep, ["count", "ageMs"]);
    const { count = defaultCount, ageMs } = keep;
    checkCount("count of topic", count, 1_000_000);
    if (ageMs !== undefined) checkMs("ageMs of topic", ageMs, Number.MAX_SAFE_INTEGER);
    this.#context = context;
    this.#keys = new TopicKeys(roomyPrefixOf("topic", name, context.backend.limits));
    this.#keep = { count, ageMs };
  }

  /**
   * Publishes a message; gives its cursor once the store has taken it. One round trip, shared with other messages of this
   * process that are published meanwhile; another whenever another process was first, or this one knows nothing of the
   * topic yet. Messages of one process stay in the order of these calls.
   *
   * Rejects with `UNAVAILABLE` when the store does not answer and nothing was published, with `OUTCOME_UNKNOWN` when the
   * session ended before it was known, with `signal.reason`, at once, after which it may have been published if it was
   * on its way, with `LEASE_LOST`, `CLOSED`, `LIMIT` or `DENIED`, and with `TypeError` or `RangeError` for what JSON or a
   * message cannot carry. It is never published twice.
   */
  async publish(value: T, options: WaitOptions = {}): Promise<string> {
    checkOptions("publish", options, ["signal"]);
    const [cursor] = await this.#publish("publish", [value], options);
    return cursor as string;
  }

  /**
   * Publishes messages, all or none, one straight after the other; gives their cursors. At most 45, no more than are kept,
   * and at most about 448 KiB together. Costs and rejects as `publish`.
   */
  async publishAll(values: readonly T[], options: WaitOptions = {}): Promise<readonly string[]> {
    if (!Array.isArray(values)) throw wrongType("values of publishAll", values, "an array");
    checkOptions("publishAll", options, ["signal"]);
    if (values.length === 0) return [];
    return this.#publish("publishAll", values, options);
  }

  /**
   * Follows the topic; dispose the subscription when done. Needs no session. Takes one watch and one read; then messages
   * come without round trips while the reader keeps up.
   *
   * Rejects with `UNAVAILABLE` when the store does not answer, with `signal.reason`, `CLOSED`, or `DENIED` as the store
   * says, and with `TypeError` for what is no cursor. After that an outage delays it, and does not end it.
   */
  async subscribe(options: SubscribeOptions = {}): Promise<Subscription<T>> {
    checkOptions("subscribe", options, ["from", "signal"]);
    const { from = "now", signal } = options;
    const beginning = from === "now" ? from : beginningOf("from of subscribe", from, '"now", "start" or ');
    return Subscription.open(this.#context, this.#keys, { from: beginning, ageMs: this.#keep.ageMs, signal });
  }

  /** A page of what is kept, in one round trip; a gap on the way is told as to subscribers. Rejects as `kv.list` does. */
  async read(options: TopicReadOptions = {}): Promise<TopicPage<T>> {
    checkOptions("read", options, ["from", "limit", ...callOptions]);
    const { from = "start", limit, signal, timeoutMs } = options;
    const beginning = beginningOf("from of read", from, '"start" or ');
    if (limit !== undefined) checkCount("limit of read", limit, mostPerRead);
    return this.#read(beginning, limit, { signal, timeoutMs });
  }

  /** The newest message; undefined when none is kept. Two round trips. Rejects as `kv.get` does. */
  async latest(options: CallOptions = {}): Promise<TopicMessage<T> | undefined> {
    checkOptions("latest", options, callOptions);
    const { kv } = this.#context.backend;
    const { head } = await headOf(this.#keys, kv, await kv.get(this.#keys.head, options), options);
    if (head === undefined || head.last === 0) return undefined;
    const page = await this.#read({ life: head.life, seq: head.last - 1 }, undefined, options);
    return page.events.findLast(({ message }) => message)?.message;
  }

  async #read(beginning: Beginning, limit: number | undefined, options: CallOptions): Promise<TopicPage<T>> {
    const reading = new Reading<T>(this.#context, this.#keys, beginning, this.#keep.ageMs);
    const { events, more } = await reading.look(limit, options);
    return { events: [...events, ...reading.gap()], cursor: reading.cursor, more };
  }

  async #publish(call: string, values: readonly T[], options: WaitOptions): Promise<readonly string[]> {
    const outbox = this.#outbox;
    const { mostTogether, mostBytes } = outbox;
    if (values.length > mostTogether)
      throw new RangeError(`${call} must be given at most ${mostTogether} values, not ${values.length}`);
    const texts = values.map((value) => decode(encodeJson(`value of ${call}`, value)));
    const bytes = texts.reduce((sum, text) => sum + outbox.bytesOf(text), 0);
    if (bytes > mostBytes) throw new RangeError(`${call} must be given at most ${mostBytes} bytes, not ${bytes}`);
    return outbox.publish(texts, bytes, options);
  }

  /** What all topics of this name share in a process, so that their messages ride together. */
  get #outbox(): Outbox {
    const { count, ageMs } = this.#keep;
    const id = `${this.#keys.prefix}${count} ${ageMs}`;
    const known = outboxes.get(this.#context) ?? new Map<string, Outbox>();
    outboxes.set(this.#context, known);
    const outbox = known.get(id) ?? new Outbox(this.#context, this.#keys, this.#keep);
    // The one used last comes last; those used least are forgotten, which costs their next message a round trip.
    known.delete(id);
    known.set(id, outbox);
    for (const [other, { busy }] of known) if (known.size > mostOutboxes && !busy) known.delete(other);
    return outbox;
  }
}

function beginningOf(argument: string, from: unknown, also: string): Beginning {
  return from === "start" ? from : parseCursor(argument, from, also);
}
