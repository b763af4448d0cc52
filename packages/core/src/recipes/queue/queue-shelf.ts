import type { Entry } from "../../ports/kv.ts";
import { type Claim, type Item, isBefore, itemOf, type QueueKeys, recordOf } from "./queue-item.ts";
import { SortedList } from "./sorted-list.ts";

/** How far the wall clocks of who claims and who takes a claim away may be apart. */
const clockMarginMs = 1_000;

/** An item that somebody has claimed for longer than was agreed. */
export interface Overdue extends Item {
  readonly claim: Entry;
}

/** What holds a place of a bounded queue, though somebody may have removed its item by hand. */
export interface Slot {
  readonly modified: bigint;
  /** Whose place it is; undefined when nobody can read that. */
  readonly id: string | undefined;
}

/** What is in a queue, in the order in which it is to be delivered; folded from the entries of its index. */
export class QueueShelf {
  readonly #keys: QueueKeys;
  readonly #items = new Map<string, Item>();
  readonly #claims = new Map<string, Entry>();
  /** Until when those claims count that do not count for ever. */
  readonly #deadlines = new Map<string, number>();
  readonly #slots = new Map<string, Slot>();
  readonly #waiting = new SortedList<Item>(isBefore);
  readonly #delayed = new SortedList<Item>(isDueBefore);

  constructor(keys: QueueKeys) {
    this.#keys = keys;
  }

  /** Puts in what a key holds now, or takes away what it held. */
  put(key: string, entry: Entry | undefined): void {
    const { items, claims, slots } = this.#keys;
    if (key.startsWith(items)) this.#putItem(key.slice(items.length), entry);
    else if (key.startsWith(claims)) this.#putClaim(key.slice(claims.length), entry);
    else if (key.startsWith(slots)) set(this.#slots, key, entry && slotOf(entry));
  }

  /** What can be had now, best first: unclaimed items that are due, and items whose claim is overdue. */
  due(
    atMost: number,
    nowMs: number,
    isPassed: (key: string, modified: bigint) => boolean,
  ): readonly (Item | Overdue)[] {
    for (let next = this.#delayed.first; next && next.meta.availableAtMs <= nowMs; next = this.#delayed.first) {
      this.#delayed.delete(next);
      this.#waiting.add(next);
    }
    const due: (Item | Overdue)[] = [];
    for (const item of this.#waiting) {
      if (due.length === atMost) break;
      // A clock that was set back may say of one that was due that it is not.
      if (item.meta.availableAtMs <= nowMs && !isPassed(this.#keys.item(item.id), item.modified)) due.push(item);
    }
    for (const [id, untilMs] of this.#deadlines) {
      const [item, claim] = [this.#items.get(id), this.#claims.get(id)];
      if (untilMs + clockMarginMs > nowMs || !item || !claim || isPassed(claim.key, claim.modified)) continue;
      due.push({ ...item, claim });
    }
    return due.sort((one, other) => (isBefore(one, other) ? -1 : 1)).slice(0, atMost);
  }

  /** In how many milliseconds something becomes due that is not yet. */
  nextDueMs(nowMs: number): number {
    let next = this.#delayed.first?.meta.availableAtMs ?? Number.POSITIVE_INFINITY;
    for (const untilMs of this.#deadlines.values())
      if (untilMs + clockMarginMs > nowMs) next = Math.min(next, untilMs + clockMarginMs);
    return next - nowMs;
  }

  /** What holds a place of a bounded queue. */
  slot(key: string): Slot | undefined {
    return this.#slots.get(key);
  }

  has(id: string): boolean {
    return this.#items.has(id);
  }

  #putItem(id: string, entry: Entry | undefined): void {
    this.#takeDown(id);
    set(this.#items, id, entry && itemOf(this.#keys, entry));
    this.#putUp(id);
  }

  #putClaim(id: string, entry: Entry | undefined): void {
    this.#takeDown(id);
    set(this.#claims, id, entry);
    set(this.#deadlines, id, entry && recordOf<Claim>(entry.value)?.untilMs);
    this.#putUp(id);
  }

  #takeDown(id: string): void {
    const item = this.#items.get(id);
    if (item && !this.#delayed.delete(item)) this.#waiting.delete(item);
  }

  #putUp(id: string): void {
    const item = this.#items.get(id);
    if (!item || this.#claims.has(id)) return;
    (item.meta.availableAtMs > 0 ? this.#delayed : this.#waiting).add(item);
  }
}

function slotOf({ value, modified }: Entry): Slot {
  const id: unknown = recordOf<{ id: string }>(value)?.id;
  return { modified, id: typeof id === "string" && id !== "" ? id : undefined };
}

function isDueBefore(one: Item, other: Item): boolean {
  const [first, second] = [one.meta.availableAtMs, other.meta.availableAtMs];
  return first === second ? one.id < other.id : first < second;
}

function set<T>(map: Map<string, T>, key: string, value: T | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
