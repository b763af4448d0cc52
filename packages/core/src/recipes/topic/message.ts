import { wrongType } from "../../arguments.ts";
import { encode } from "../../bytes.ts";
import { decodeJson, type Json } from "../../json.ts";
import type { Entry, Revision } from "../../ports/kv.ts";

/** A message of a topic. */
export interface TopicMessage<T extends Json = Json> {
  /** What was published, as its publisher's version of the program wrote it. */
  readonly value: T;
  /** Where it stands. Text, to be kept with what was made of the message: a subscription from it goes on after it. */
  readonly cursor: string;
  /** When it was sent, in milliseconds since the epoch by its publisher's clock. */
  readonly publishedAtMs: number;
  /** What its publisher calls itself: the `owner` it connected with, "" by default. */
  readonly by: string;
  /** When the store took it. Messages published in one commit share it. */
  readonly revision: Revision;
}

/** Messages that a reader did not get: retention passed it, somebody deleted them, or they were no messages. */
export interface TopicGap {
  /** How many; undefined when the topic was deleted and begun anew, or put back to an older state, and nobody knows. */
  readonly missed: number | undefined;
  /** A subscription from here goes on after the gap. */
  readonly cursor: string;
}

/** What a reader of a topic gets: the next message, or that some are missing before what comes next. */
export type TopicEvent<T extends Json = Json> =
  | { readonly message: TopicMessage<T>; readonly gap?: undefined }
  | { readonly gap: TopicGap; readonly message?: undefined };

/** A place in a topic: after the message of that number, in the topic's life that began with its first message. */
export interface Cursor {
  /** Undefined before the first message. */
  readonly life: string | undefined;
  readonly seq: number;
}

export function cursorText({ life = "", seq }: Cursor): string {
  return `${seq}.${life}`;
}

/** Throws `TypeError` for what is no cursor. */
export function parseCursor(argument: string, text: unknown, also = ""): Cursor {
  const [, digits, life] = (typeof text === "string" && /^(\d{1,16})\.([0-9a-f]{8})?$/.exec(text)) || [];
  const seq = Number(digits);
  if (!Number.isSafeInteger(seq)) throw wrongType(argument, text, `${also}the cursor of a message`);
  return { life, seq };
}

/** A message as it is stored: with its topic's life, so that a head deleted by hand can be made anew from messages. */
export function encodeMessage(life: string, publishedAtMs: number, by: string, json: string): Uint8Array {
  return encode(`{"life":"${life}","at":${publishedAtMs},"by":${JSON.stringify(by)},"value":${json}}`);
}

/** What `encodeMessage` wrote; undefined for what it cannot have written. */
export function decodeMessage<T extends Json>(entry: Entry, seq: number): (TopicMessage<T> & Cursor) | undefined {
  const written = parsed(entry);
  const { life, at, by, value } = written ?? {};
  if (!isLife(life) || typeof at !== "number" || typeof by !== "string" || value === undefined) return;
  const cursor = cursorText({ life, seq });
  return { value: value as T, cursor, publishedAtMs: at, by, revision: entry.created, life, seq };
}

/** What names a life of a topic: the first digits of an id that nobody else has. */
export function isLife(life: unknown): life is string {
  return typeof life === "string" && /^[0-9a-f]{8}$/.test(life);
}

/** The object that an entry holds as JSON, if it does. */
export function parsed(entry: Entry): { readonly [name: string]: Json } | undefined {
  try {
    const value = decodeJson(entry);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as { readonly [name: string]: Json })
      : undefined;
  } catch {
    return undefined;
  }
}
