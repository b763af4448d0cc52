import { Bell } from "../../bell.ts";
import { compareKeys } from "../../bytes.ts";
import type { Context } from "../../context.ts";
import { CoordinationError } from "../../errors.ts";
import type { Json } from "../../json.ts";
import type { Entry } from "../../ports/kv.ts";
import type { Change, Watch } from "../../ports/watches.ts";
import { patiently } from "../../settle.ts";
import { onAbort } from "../../signals.ts";
import type { TopicEvent } from "./message.ts";
import { type Beginning, Reading } from "./reading.ts";
import { headOf, type TopicKeys } from "./topic-head.ts";

/** How many messages, and of how many bytes together, may wait here for a reader; more it reads from the store. */
const mostHeard = 64;
const mostHeardBytes = 1024 * 1024;
/** After how long without news it looks all the same, should the store have dropped an event. */
const auditMs = 60_000;

/**
 * A reader's place in a topic. It gives every message once and in order, or says how many are missing:
 *
 *   1. watch the topic, so that nothing that happens from now on is missed; "now" is after the last message of its head;
 *   2. look for what comes next, in the store; take that, and look again while there is more;
 *   3. then take what the watch tells, while that is what comes next;
 *   4. after a gap of the watch, or when the watch told of more than may wait here, or of something else than what comes
 *      next, go to 2.
 *
 * So a slow reader reads from the store, at its own pace, and holds up nobody. It is for one reader at a time; leaving the
 * loop keeps the place, and another loop goes on from there. It ends when it is disposed, its signal aborts, the conclave
 * closes, or the store refuses it for good; an outage only delays it.
 */
export class Subscription<T extends Json = Json> implements AsyncIterable<TopicEvent<T>>, AsyncDisposable {
  readonly #context: Context;
  readonly #keys: TopicKeys;
  readonly #bell = new Bell();
  readonly #ended = new AbortController();
  readonly #unlinks: readonly Disposable[];
  #reading: Reading<T>;
  /** What the watch told of and was not taken yet; undefined when only a look can tell what comes next. */
  #heard: Entry[] | undefined = [];
  #heardBytes = 0;
  /** What was taken and not given to the reader yet. */
  #ready: TopicEvent<T>[] = [];
  #cursor = "";
  #isRead = false;
  #disposed = false;

  private constructor(context: Context, keys: TopicKeys, reading: Reading<T>, signal: AbortSignal | undefined) {
    this.#context = context;
    this.#keys = keys;
    this.#reading = reading;
    this.#unlinks = [signal, context.closed].map((source) => onAbort(source, () => this.#end(source?.reason)));
  }

  /** For `Topic.subscribe`: resolves when no later message can be missed. */
  static async open<T extends Json>(
    context: Context,
    keys: TopicKeys,
    { from, ageMs, signal }: { from: "now" | Beginning; ageMs: number | undefined; signal: AbortSignal | undefined },
  ): Promise<Subscription<T>> {
    signal?.throwIfAborted();
    context.closed.throwIfAborted();
    const beginning = from === "now" ? { life: undefined, seq: 0 } : from;
    const subscription = new Subscription<T>(context, keys, new Reading(context, keys, beginning, ageMs), signal);
    try {
      await subscription.#begin(from, ageMs);
      return subscription;
    } catch (error) {
      subscription.#end(error);
      throw error;
    }
  }

  /** After what the reader was given last: text to be kept, from which another subscription goes on. No I/O. */
  get cursor(): string {
    return this.#cursor;
  }

  /**
   * Messages and gaps, as they come. Ends when the subscription is disposed; rejects with `signal.reason` or `CLOSED` when
   * it ended by those, with why the store refused it otherwise, and with `TypeError` while another loop is reading.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<TopicEvent<T>, void, undefined> {
    if (this.#isRead) throw new TypeError("a subscription is for one reader at a time; subscribe again for another");
    this.#isRead = true;
    try {
      for (let event = await this.#next(); event !== undefined; event = await this.#next()) {
        this.#cursor = event.message ? event.message.cursor : event.gap.cursor;
        yield event;
      }
    } finally {
      this.#isRead = false;
    }
  }

  /** Ends it: a loop over it ends. Twice is fine. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ||= !this.#ended.signal.aborted;
    this.#end(new CoordinationError("CLOSED", "the subscription was disposed"));
  }

  async #begin(from: "now" | Beginning, ageMs: number | undefined): Promise<void> {
    const { kv, watches } = this.#context.backend;
    const { signal } = this.#ended;
    void this.#listen(await watches.watch({ prefix: this.#keys.prefix }, { signal }));
    if (from === "now") {
      const { head } = await headOf(this.#keys, kv, await kv.get(this.#keys.head, { signal }), { signal });
      const now = { life: head?.life, seq: head?.last ?? 0 };
      this.#reading = new Reading(this.#context, this.#keys, now, ageMs);
    }
    this.#cursor = this.#reading.cursor;
    if (from !== "now") await this.#look();
  }

  /** The next event; undefined once the subscription was disposed. */
  async #next(): Promise<TopicEvent<T> | undefined> {
    const { clock } = this.#context.backend;
    const { signal } = this.#ended;
    for (;;) {
      const heard = this.#bell.rings;
      if (this.#disposed) return undefined;
      signal.throwIfAborted();
      const event = this.#ready.shift();
      if (event) return event;
      if (this.#heard === undefined)
        await patiently(clock, signal, () => this.#look()).catch((error) => this.#end(error));
      else this.#take(this.#heard);
      if (this.#ready.length > 0 || this.#heard === undefined) continue;
      const patienceMs = auditMs * (0.75 + 0.5 * clock.random());
      await this.#bell.after(heard, { clock, patienceMs, signal }).catch(() => {});
      if (this.#bell.rings === heard) this.#heard = undefined;
    }
  }

  async #look(): Promise<void> {
    // What the watch tells from now on may come after what this look shows.
    this.#heard = [];
    this.#heardBytes = 0;
    try {
      const { events, more } = await this.#reading.look(undefined, { signal: this.#ended.signal });
      this.#ready.push(...events);
      if (more) this.#heard = undefined;
    } catch (error) {
      this.#heard = undefined;
      throw error;
    }
  }

  #take(entries: Entry[]): void {
    const { events, lost } = this.#reading.take(entries);
    this.#ready.push(...events);
    this.#heard = lost ? undefined : [];
    this.#heardBytes = 0;
  }

  async #listen(watch: Watch): Promise<void> {
    try {
      for await (const batch of watch) {
        if ("gap" in batch) this.#heard = undefined;
        else this.#hear(batch.changes);
        this.#bell.ring();
      }
      this.#end(new CoordinationError("UNAVAILABLE", "the watch of a subscription ended"));
    } catch (error) {
      this.#end(error);
    } finally {
      void Promise.resolve(watch[Symbol.asyncDispose]()).catch(() => {});
    }
  }

  #hear(changes: readonly Change[]): void {
    const entries = changes.flatMap(({ key, entry }) => (entry && this.#keys.seqOf(key) !== undefined ? [entry] : []));
    this.#heard?.push(...entries.sort((one, other) => compareKeys(one.key, other.key)));
    this.#heardBytes += entries.reduce((sum, { value }) => sum + value.length, 0);
    if ((this.#heard?.length ?? 0) > mostHeard || this.#heardBytes > mostHeardBytes) this.#heard = undefined;
  }

  #end(reason: unknown): void {
    for (const unlink of this.#unlinks) unlink[Symbol.dispose]();
    this.#ended.abort(reason);
    this.#bell.ring();
  }
}
