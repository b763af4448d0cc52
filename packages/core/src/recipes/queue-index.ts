import { Bell } from "../bell.ts";
import type { Context } from "../context.ts";
import type { Entry, Revision } from "../ports/kv.ts";
import { Replica } from "../replica.ts";
import { abortable, onAbort } from "../signals.ts";
import { Crowd } from "./crowd.ts";
import { type Claim, type Item, isBefore, itemOf, type QueueKeys, recordOf } from "./queue-item.ts";

/** How long the index stays open when nobody uses it, so that one claim after another finds it open. */
const lingerMs = 30_000;
/** The longest that a wait relies on timers and news alone. */
const longestPatienceMs = 10_000;
/** How far the wall clocks of who claims and who takes a claim away may be apart. */
export const clockMarginMs = 1_000;

/** An item that somebody has claimed for longer than was agreed. */
export interface Overdue extends Item {
  readonly claim: Entry;
}

/** The entries of an index, as they were at one revision. */
interface Parsed {
  readonly items: readonly Item[];
  readonly claims: ReadonlyMap<string, Entry>;
}

/**
 * One process's live copy of a queue's index, shared by all who claim from that queue there: what is due, in which order,
 * and which places of a bounded queue are free. What one of them is trying to get, the others pass over.
 */
export class QueueIndex {
  readonly #context: Context;
  readonly #keys: QueueKeys;
  /** Those who compete for items. */
  readonly claimants: Crowd;
  /** Those who compete for the places of a bounded queue. */
  readonly producers: Crowd;
  readonly #bell = new Bell();
  /** What is out of date in the copy: each key, with the revision up to which it is. */
  readonly #passed = new Map<string, Revision>();
  #known = new Map<string, Item>();
  #parsed: { readonly of: unknown; readonly now: Parsed } | undefined;
  #replica: Replica | undefined;
  #opening: Promise<void> | undefined;
  #closing = new AbortController();
  #failure: { readonly reason: unknown } | undefined;
  #users = 0;
  #linger: Disposable | undefined;

  constructor(context: Context, keys: QueueKeys) {
    this.#context = context;
    this.#keys = keys;
    this.claimants = new Crowd(context.backend.clock);
    this.producers = new Crowd(context.backend.clock);
  }

  /** Opens it, if nobody has, for as long as what this gives is not disposed. Rejects as `conclave.replica` does. */
  async open(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    this.#users += 1;
    this.#linger?.[Symbol.dispose]();
    try {
      this.#opening ??= this.#start();
      await abortable(this.#opening, signal);
    } catch (error) {
      this.#leave();
      throw error;
    }
    let left = false;
    return {
      [Symbol.dispose]: () => {
        if (!left) this.#leave();
        left = true;
      },
    };
  }

  /** How often something has changed; what a waiter remembers before it looks. */
  get changes(): number {
    return this.#bell.rings;
  }

  /** Waits until something has changed since, or may have become due. Rejects with why the index ended. */
  async changed(since: number, signal: AbortSignal): Promise<void> {
    const patienceMs = Math.max(1, Math.min(longestPatienceMs, this.#nextDueMs()));
    await this.#bell.after(since, { clock: this.#context.backend.clock, patienceMs, signal });
    if (this.#failure) throw this.#failure.reason;
  }

  /** What can be had now, best first: unclaimed items that are due, and items whose claim is overdue. */
  due(atMost: number): readonly (Item | Overdue)[] {
    return this.#dueIn(this.#current(), atMost);
  }

  /** The same, of what a list of the index has just shown. */
  dueIn(entries: Iterable<Entry>, atMost: number): readonly (Item | Overdue)[] {
    return this.#dueIn(this.#parse(entries), atMost);
  }

  /** Passes over something as it is now, until the copy shows what became of it; or until what this gives is called. */
  pass(key: string, modified: Revision): () => void {
    this.#passed.set(key, modified);
    return () => {
      if (this.#passed.get(key) === modified) this.#passed.delete(key);
      this.#bell.ring();
    };
  }

  /** Some places that nothing takes, with what is to be overwritten where somebody removed an item by hand. */
  freeSlots(atMost: number, maxLength: number): ReadonlyMap<number, Revision | undefined> {
    const replica = this.#replica as Replica;
    const taken = new Map(replica.list(this.#keys.slots).map((entry) => [entry.key, entry]));
    const { items } = this.#current();
    const live = new Set(items.map(({ id }) => id));
    const free = new Map<number, Revision | undefined>();
    const start = this.producers.pick(maxLength);
    for (let index = 0; index < maxLength && free.size < atMost; index++) {
      const slot = (start + index) % maxLength;
      const key = this.#keys.slot(slot);
      const entry = taken.get(key);
      const { id } = (entry && recordOf<{ id: string }>(entry.value)) ?? {};
      const orphaned = entry !== undefined && !(id !== undefined && live.has(id));
      const outOfDate = (this.#passed.get(key) ?? 0n) > replica.revision;
      if (!outOfDate && (entry === undefined || orphaned)) free.set(slot, entry?.modified);
    }
    return free;
  }

  #dueIn({ items, claims }: Parsed, atMost: number): readonly (Item | Overdue)[] {
    const nowMs = this.#context.backend.clock.wallMs();
    const best: (Item | Overdue)[] = [];
    for (const item of items) {
      const claim = claims.get(item.id);
      if (claim === undefined ? !this.#isDue(item, nowMs) : !this.#isOverdue(claim, nowMs)) continue;
      const last = best.at(-1);
      if (best.length >= atMost && last && !isBefore(item, last)) continue;
      let place = best.length;
      while (place > 0 && isBefore(item, best[place - 1] as Item)) place -= 1;
      best.splice(place, 0, claim === undefined ? item : { ...item, claim });
      if (best.length > atMost) best.pop();
    }
    return best;
  }

  #isDue({ id, meta, modified }: Item, nowMs: number): boolean {
    return meta.availableAtMs <= nowMs && !this.#isPassed(this.#keys.item(id), modified);
  }

  #isOverdue({ key, value, modified }: Entry, nowMs: number): boolean {
    const { untilMs } = recordOf<Claim>(value) ?? {};
    return untilMs !== undefined && untilMs + clockMarginMs <= nowMs && !this.#isPassed(key, modified);
  }

  #isPassed(key: string, modified: Revision): boolean {
    return modified <= (this.#passed.get(key) ?? -1n);
  }

  /** In how many milliseconds something becomes due that is not yet. */
  #nextDueMs(): number {
    const nowMs = this.#context.backend.clock.wallMs();
    const { items, claims } = this.#current();
    let next = Number.POSITIVE_INFINITY;
    for (const { id, meta } of items) {
      const claim = claims.get(id);
      const until = claim && recordOf<Claim>(claim.value)?.untilMs;
      const atMs = claim === undefined ? meta.availableAtMs : (until ?? Number.POSITIVE_INFINITY) + clockMarginMs;
      if (atMs > nowMs && atMs < next) next = atMs;
    }
    return next - nowMs;
  }

  #current(): Parsed {
    const { entries } = this.#replica as Replica;
    if (this.#parsed?.of === entries) return this.#parsed.now;
    const now = this.#parse(entries.values());
    this.#parsed = { of: entries, now };
    this.#forget(now);
    return now;
  }

  #parse(entries: Iterable<Entry>): Parsed {
    const items: Item[] = [];
    const claims = new Map<string, Entry>();
    const known = new Map<string, Item>();
    for (const entry of entries) {
      if (entry.key.startsWith(this.#keys.claims)) claims.set(entry.key.slice(this.#keys.claims.length), entry);
      if (!entry.key.startsWith(this.#keys.items)) continue;
      const before = this.#known.get(entry.key);
      const item = before?.modified === entry.modified ? before : itemOf(this.#keys, entry);
      known.set(entry.key, item);
      items.push(item);
    }
    this.#known = known;
    return { items, claims };
  }

  /** Passes over no more what the copy shows anew. */
  #forget({ items, claims }: Parsed): void {
    if (this.#passed.size === 0) return;
    const { revision } = this.#replica as Replica;
    const modified = new Map(items.map((item) => [this.#keys.item(item.id), item.modified]));
    for (const { key, modified: at } of claims.values()) modified.set(key, at);
    for (const [key, at] of this.#passed) {
      const shown = modified.get(key);
      const claimed = key.startsWith(this.#keys.items) && claims.has(key.slice(this.#keys.items.length));
      if (shown === undefined ? revision > at : shown > at || claimed) this.#passed.delete(key);
    }
  }

  async #start(): Promise<void> {
    const { backend, closed } = this.#context;
    const closing = new AbortController();
    this.#closing = closing;
    this.#failure = undefined;
    try {
      const replica = await Replica.open(backend, this.#keys.index, closing.signal, closed);
      this.#replica = replica;
      this.#parsed = undefined;
      this.#passed.clear();
      void this.#tell(replica, closing);
    } catch (error) {
      if (this.#closing === closing) this.#opening = undefined;
      throw error;
    }
  }

  async #tell(replica: Replica, closing: AbortController): Promise<void> {
    try {
      for await (const _ of replica) this.#bell.ring();
    } catch (reason) {
      if (this.#closing !== closing) return;
      this.#failure = { reason };
      this.#opening = undefined;
      this.#bell.ring();
    }
  }

  #leave(): void {
    this.#users -= 1;
    if (this.#users > 0) return;
    const { backend, closed } = this.#context;
    if (closed.aborted) return;
    const close = () => {
      timer[Symbol.dispose]();
      link[Symbol.dispose]();
    };
    const timer = backend.clock.after(lingerMs, () => {
      close();
      this.#opening = undefined;
      this.#closing.abort();
    });
    const link = onAbort(closed, close);
    this.#linger = { [Symbol.dispose]: close };
  }
}

const shared = new WeakMap<Context, Map<string, QueueIndex>>();

/** The index of a queue, the same for all who use that queue in this process. */
export function indexOf(context: Context, keys: QueueKeys): QueueIndex {
  const indexes = shared.get(context) ?? new Map<string, QueueIndex>();
  shared.set(context, indexes);
  const index = indexes.get(keys.prefix) ?? new QueueIndex(context, keys);
  indexes.set(keys.prefix, index);
  return index;
}
