import { checkName, outOfRange, wrongType } from "../../arguments.ts";
import { decode } from "../../bytes.ts";
import { encodeJson, type Json } from "../../json.ts";
import type { Delete, Entry, Put } from "../../ports/kv.ts";

/** Where a queue keeps what: payloads apart from the index, so that who watches the index does not receive them. */
export class QueueKeys {
  readonly prefix: string;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  get index(): string {
    return `${this.prefix}index/`;
  }
  get items(): string {
    return `${this.index}item/`;
  }
  get claims(): string {
    return `${this.index}claim/`;
  }
  get slots(): string {
    return `${this.index}slot/`;
  }
  get dead(): string {
    return `${this.prefix}dead/`;
  }
  data(id: string): string {
    return `${this.prefix}data/${id}`;
  }
  item(id: string): string {
    return this.items + id;
  }
  claim(id: string): string {
    return this.claims + id;
  }
  slot(number: number): string {
    return this.slots + number;
  }
  letter(id: string): string {
    return this.dead + id;
  }
}

/** What the index says of an item. */
export interface Meta {
  /** Smaller is delivered first. */
  readonly priority: number;
  /** By the wall clock of whoever wrote it. */
  readonly enqueuedAtMs: number;
  /** Not delivered before. */
  readonly availableAtMs: number;
  /** How often it was claimed. */
  readonly deliveries: number;
  /** Of its payload. */
  readonly bytes: number;
  /** Which of a bounded queue's places it takes. */
  readonly slot?: number | undefined;
  /** Why it was last given back. */
  readonly reason?: string | undefined;
}

/** What a claim says: whose attempt it is, and until when it counts if it is not extended. */
export interface Claim {
  readonly attempt: string;
  readonly owner: string;
  readonly untilMs?: number | undefined;
}

/** What a dead letter says. */
export interface Death extends Meta {
  readonly diedAtMs: number;
}

/** An item as the index knows it. */
export interface Item {
  readonly id: string;
  /** One that nobody can read has the priority of most, and is due at once. */
  readonly meta: Meta;
  /** Its meta is not what a queue wrote. */
  readonly corrupt: boolean;
  readonly created: bigint;
  readonly modified: bigint;
}

const unreadable: Meta = { priority: 0, enqueuedAtMs: 0, availableAtMs: 0, deliveries: 0, bytes: 0 };

export function itemOf(keys: QueueKeys, { key, value, created, modified }: Entry): Item {
  const meta = recordOf<Meta>(value);
  const corrupt =
    ![meta?.priority, meta?.enqueuedAtMs, meta?.availableAtMs, meta?.deliveries, meta?.bytes].every(Number.isFinite) ||
    !["number", "undefined"].includes(typeof meta?.slot);
  return {
    id: key.slice(keys.items.length),
    meta: corrupt ? unreadable : (meta as Meta),
    corrupt,
    created,
    modified,
  };
}

/** What was written as an object; undefined for what was not. */
export function recordOf<T>(value: Uint8Array): Partial<T> | undefined {
  try {
    const json = JSON.parse(decode(value)) as unknown;
    return typeof json === "object" && json !== null ? (json as Partial<T>) : undefined;
  } catch {
    return undefined;
  }
}

export function encodeRecord(record: Meta | Claim | Death): Uint8Array {
  return encodeJson("what a queue writes", record);
}

/** Whether one is to be delivered before the other: by priority, then in the order in which the store took them. */
export function isBefore(one: Item, other: Item): boolean {
  if (one.meta.priority !== other.meta.priority) return one.meta.priority < other.meta.priority;
  if (one.created !== other.created) return one.created < other.created;
  return one.id < other.id;
}

/** Takes an item out of the queue and its bound; its payload stays. */
export function withdrawal(keys: QueueKeys, id: string, { slot }: Meta): Delete[] {
  const item = { delete: keys.item(id) };
  return slot === undefined ? [item] : [item, { delete: keys.slot(slot) }];
}

/** Moves an item to the dead letters. */
export function burial(keys: QueueKeys, id: string, meta: Meta, reason: string, diedAtMs: number): (Put | Delete)[] {
  const death: Death = { ...meta, slot: undefined, reason, diedAtMs };
  return [...withdrawal(keys, id, meta), { put: keys.letter(id), value: encodeRecord(death) }];
}

/** Why an item died that was delivered as often as it may be. */
export function exhaustion({ deliveries, reason }: Meta): string {
  return reason ?? `delivered ${deliveries} times, and never acknowledged`;
}

/** How to put something in a queue. */
export interface ItemOptions {
  /** A whole number; smaller ones are delivered first, so -1 is more urgent than the 0 that is the default. */
  readonly priority?: number | undefined;
  /** How many milliseconds it is not delivered; 0 by default. By the wall clocks of who enqueues and who consumes. */
  readonly delayMs?: number | undefined;
}

/** How many milliseconds something may be delayed. */
const longestDelayMs = 1e12;

export function checkDelay(argument: string, delayMs: unknown): asserts delayMs is number {
  if (typeof delayMs !== "number") throw wrongType(argument, delayMs, "a number of milliseconds");
  if (!(delayMs >= 0 && delayMs <= longestDelayMs))
    throw outOfRange(argument, delayMs, `from 0 to ${longestDelayMs} milliseconds`);
}

export function checkCount(argument: string, count: unknown, most: number): asserts count is number {
  if (typeof count !== "number") throw wrongType(argument, count, "a number");
  if (!(Number.isSafeInteger(count) && count >= 1 && count <= most))
    throw outOfRange(argument, count, `a whole number from 1 to ${most}`);
}

export function checkPriority(argument: string, priority: unknown): asserts priority is number {
  if (typeof priority !== "number") throw wrongType(argument, priority, "a number");
  if (!Number.isSafeInteger(priority)) throw outOfRange(argument, priority, "a whole number");
}

/** The ids of dead letters, as `redrive` and `discardDead` take them. */
export function checkIds(argument: string, ids: unknown): asserts ids is readonly string[] {
  if (!Array.isArray(ids)) throw wrongType(argument, ids, "an array of ids");
  for (const [index, id] of ids.entries()) checkName(`${argument}[${index}]`, id);
}

/** A payload's value; undefined when it is missing or not JSON. */
export function payloadOf(entry: Entry | undefined): { readonly value: Json } | undefined {
  if (entry === undefined) return undefined;
  try {
    return { value: JSON.parse(decode(entry.value)) as Json };
  } catch {
    return undefined;
  }
}
