import { encode } from "../../bytes.ts";
import type { CallOptions, Condition, Entry, KV, Listing } from "../../ports/kv.ts";
import { decodeMessage, isLife, parsed } from "./message.ts";

/** How many messages one commit publishes at most, so that what they push out fits beside them. */
export const mostPerCommit = 45;
/** How many messages one commit deletes at most; a transaction has 100 operations, of which a receipt and the head are two. */
const mostDeletes = 100 - 2 - mostPerCommit;
/** Into how many parts the time for which messages are kept is divided: they are deleted so much later. */
const marksPerAge = 8;

/** How much of a topic is kept. */
export interface TopicKeep {
  /** The newest messages, so many of them; 1,000 by default. */
  readonly count?: number | undefined;
  /** And of those, by the clocks of publisher and reader, only messages not older than this; of any age by default. */
  readonly ageMs?: number | undefined;
}

/** All messages before this number were published at this time at the latest. */
type Mark = readonly [before: number, atMs: number];

/** How far a topic has come. */
export interface Head {
  /** Tells one life of the topic from the next, which begins after everything was deleted. */
  readonly life: string;
  /** The oldest message not deleted. */
  readonly first: number;
  /** The newest message; 0 when there was none. */
  readonly last: number;
  readonly marks: readonly Mark[];
}

/** Where a topic keeps what. Messages are numbered without holes, so that keys in order are messages in order. */
export class TopicKeys {
  readonly prefix: string;
  readonly head: string;
  readonly messages: string;

  constructor(prefix: string) {
    this.prefix = prefix;
    this.head = `${prefix}head`;
    this.messages = `${prefix}messages/`;
  }

  message(seq: number): string {
    return this.messages + String(seq).padStart(16, "0");
  }

  /** The number of the message that a key holds; undefined for other keys. */
  seqOf(key: string): number | undefined {
    const digits = key.startsWith(this.messages) ? key.slice(this.messages.length) : "";
    return /^\d{16}$/.test(digits) ? Number(digits) : undefined;
  }
}

export function encodeHead(head: Head): Uint8Array {
  return encode(JSON.stringify(head));
}

/** What `encodeHead` wrote; undefined for what it cannot have written. */
export function decodeHead(entry: Entry | undefined): Head | undefined {
  const { life, first, last, marks } = (entry && parsed(entry)) ?? {};
  const isMark = (mark: unknown) => Array.isArray(mark) && mark.length === 2 && mark.every(Number.isFinite);
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(last) || !Array.isArray(marks) || !marks.every(isMark))
    return;
  const head = { life, first, last, marks } as unknown as Head;
  return isLife(life) && head.first >= 1 && head.last >= head.first - 1 ? head : undefined;
}

/**
 * The head after so many more messages, and the messages that are then kept no more:
 *
 *   1. by count, all but the newest `count`;
 *   2. by age, all before the newest mark that is older than `ageMs`;
 *   3. never more than one commit can delete: the next deletes the rest;
 *   4. mark when the newest was published, and keep no more marks than two for each eighth of `ageMs`.
 */
export function advance(
  head: Head,
  added: number,
  { count, ageMs = Number.POSITIVE_INFINITY }: TopicKeep & { readonly count: number },
  nowMs: number,
): { readonly next: Head; readonly doomed: readonly number[] } {
  const { life, marks } = head;
  const last = head.last + added;
  const old = marks.findLast(([, atMs]) => atMs < nowMs - ageMs);
  const first = Math.min(Math.max(head.first, last - count + 1, old?.[0] ?? 0), head.first + mostDeletes);
  const doomed = Array.from({ length: first - head.first }, (_, index) => head.first + index);
  const [, lastMs = nowMs] = marks.at(-1) ?? [];
  const [, beforeMs = Number.NEGATIVE_INFINITY] = marks.at(-2) ?? [];
  // The newest mark moves on for as long as the one before it is near.
  const settled = nowMs - beforeMs < ageMs / marksPerAge ? marks.slice(0, -1) : marks;
  const kept = [...settled, [last + 1, Math.max(lastMs, nowMs)] as const].filter(([before]) => before > first);
  return { next: { life, first, last, marks: kept.slice(-3 * marksPerAge) }, doomed };
}

/** The head of a topic, if it has any, and on what condition it is still that. */
export interface KnownHead {
  readonly head: Head | undefined;
  readonly if: readonly Condition[];
}

/** That a topic was never published to, so that its head can be made. */
export function untouched(keys: TopicKeys): KnownHead {
  return {
    head: undefined,
    if: [
      { key: keys.head, exists: false },
      { prefix: keys.messages, empty: true },
    ],
  };
}

/**
 * The head that an entry holds. When somebody deleted or spoilt it, it is made anew from the messages, in one more round
 * trip, and their numbers go on.
 */
export async function headOf(
  keys: TopicKeys,
  kv: KV,
  entry: Entry | undefined,
  options?: CallOptions,
): Promise<KnownHead> {
  const unchanged: Condition = entry ? { key: keys.head, modified: entry.modified } : { key: keys.head, exists: false };
  const written = decodeHead(entry);
  if (written) return { head: written, if: [unchanged] };
  // What one commit published shares a revision, so the newest message is one of so many.
  const newest = { list: keys.messages, order: "newest", limit: mostPerCommit } as const;
  const oldest = { list: keys.messages, limit: 1, keysOnly: true } as const;
  const commit = await kv.commit({ then: [newest, oldest] }, options);
  const [latest, earliest] = commit.results as readonly [Listing, Listing];
  const found = latest.entries.flatMap((entry) => {
    const seq = keys.seqOf(entry.key);
    return seq === undefined ? [] : [{ seq, life: decodeMessage(entry, seq)?.life }];
  });
  const [last] = found.sort((one, other) => other.seq - one.seq);
  if (last === undefined) return { head: undefined, if: [unchanged, { key: keys.message(1), exists: false }] };
  const first = keys.seqOf(earliest.entries[0]?.key ?? "") ?? last.seq;
  const life = found.find(({ life }) => life)?.life ?? "0".repeat(8);
  const head = { life, first, last: last.seq, marks: [] };
  return { head, if: [unchanged, { key: keys.message(last.seq + 1), exists: false }] };
}
