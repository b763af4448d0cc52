import type { Context } from "../../context.ts";
import type { Json } from "../../json.ts";
import type { CallOptions, Entry, Listing } from "../../ports/kv.ts";
import { type Cursor, cursorText, decodeMessage, type TopicEvent, type TopicMessage } from "./message.ts";
import { decodeHead, type Head, type TopicKeys } from "./topic-head.ts";

/** How many messages one look takes from the store. */
const messagesPerLook = 32;

/** Where a reading begins: with the oldest message kept, or after a place. */
export type Beginning = "start" | Cursor;

/**
 * How far a reader has come in a topic. Messages are numbered without holes, and the store shows them as they were at one
 * revision, so a number missing before one that is there is a message gone:
 *
 *   1. look, in one round trip: at the head, and at the messages after the last one taken;
 *   2. a head of another life, or one that has gone back, says that the topic was begun anew: go on from there, and tell;
 *   3. of the messages, take each in turn; count numbers that are missing, messages too old, and what is no message;
 *   4. before the next message, or when there is none, tell how many were missed.
 */
export class Reading<T extends Json> {
  readonly #context: Context;
  readonly #keys: TopicKeys;
  readonly #ageMs: number;
  #life: string | undefined;
  #seq = 0;
  #missed = 0;
  #begunAnew = false;
  /** What is missing before the first message is none of the reader's business, when it asked for what there is. */
  #atStart: boolean;

  constructor(context: Context, keys: TopicKeys, beginning: Beginning, ageMs: number = Number.POSITIVE_INFINITY) {
    this.#context = context;
    this.#keys = keys;
    this.#ageMs = ageMs;
    this.#atStart = beginning === "start";
    if (beginning === "start") return;
    this.#life = beginning.life;
    this.#seq = beginning.seq;
  }

  /** The last message taken. */
  get cursor(): string {
    return cursorText({ life: this.#life, seq: this.#seq });
  }

  /** Looks for what comes next in the store; `more` says whether there is more than it took. */
  async look(
    limit: number = messagesPerLook,
    options?: CallOptions,
  ): Promise<{ readonly events: TopicEvent<T>[]; readonly more: boolean }> {
    for (;;) {
      const { head, messages } = this.#keys;
      const list = { list: messages, startAfter: this.#keys.message(this.#seq), limit } as const;
      const commit = await this.#context.backend.kv.commit({ then: [{ get: head }, list] }, options);
      const [entry, { entries, more }] = commit.results as readonly [Entry | undefined, Listing];
      const found = decodeHead(entry);
      if (found && !this.#continues(found)) continue;
      const before = this.#seq;
      const events = entries.flatMap((entry) => {
        const seq = this.#keys.seqOf(entry.key) ?? 0;
        return seq > this.#seq ? this.#pass(entry, seq, decodeMessage<T>(entry, seq)) : [];
      });
      // Keys that are no message's could fill a look for ever.
      if (more && this.#seq > before) return { events, more };
      // What the head tells of and is not there, somebody deleted by hand.
      if (!more && found && found.last > this.#seq) {
        this.#missed += found.last - this.#seq;
        this.#seq = found.last;
      }
      events.push(...this.gap());
      this.#atStart = false;
      return { events, more: false };
    }
  }

  /**
   * Takes messages that a watch told of, in order. They need not come next, or at all: `lost` says that only a look can
   * tell what does.
   */
  take(entries: readonly Entry[]): { readonly events: TopicEvent<T>[]; readonly lost: boolean } {
    const events: TopicEvent<T>[] = [];
    for (const entry of entries) {
      const seq = this.#keys.seqOf(entry.key) ?? 0;
      const message = decodeMessage<T>(entry, seq);
      if (message === undefined || message.life !== this.#life || seq > this.#seq + 1) return { events, lost: true };
      if (seq > this.#seq) events.push(...this.#pass(entry, seq, message));
    }
    return { events: [...events, ...this.gap()], lost: false };
  }

  /** Whether the topic is still the one that was read; if not, what comes next is elsewhere. */
  #continues({ life, first, last }: Head): boolean {
    this.#life ??= life;
    if (life === this.#life && last >= this.#seq) return true;
    this.#seq = life === this.#life ? last : first - 1;
    this.#life = life;
    this.#begunAnew = true;
    return false;
  }

  /** Goes past an entry, with what that gives its reader. */
  #pass(entry: Entry, seq: number, message: (TopicMessage<T> & Cursor) | undefined): readonly TopicEvent<T>[] {
    this.#missed += seq - this.#seq - 1;
    this.#life ??= message?.life;
    const { clock } = this.#context.backend;
    const isKept = message !== undefined && clock.wallMs() - message.publishedAtMs <= this.#ageMs;
    if (!isKept) {
      if (!message) this.#context.warn(`the key ${entry.key} holds no message of its topic, and is passed over`);
      this.#missed += 1;
      this.#seq = seq;
      return [];
    }
    this.#seq = seq - 1;
    const before = this.gap();
    this.#seq = seq;
    this.#atStart = false;
    const { life: _, seq: __, ...rest } = message;
    return [...before, { message: rest }];
  }

  /** What was missed and not told yet, for who reads no further. */
  gap(): readonly TopicEvent<T>[] {
    const missed = this.#begunAnew ? undefined : this.#missed;
    const told = missed !== 0 && !this.#atStart;
    this.#missed = 0;
    this.#begunAnew = false;
    return told ? [{ gap: { missed, cursor: this.cursor } }] : [];
  }
}
