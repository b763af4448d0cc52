import { Bell } from "../../bell.ts";
import type { Context } from "../../context.ts";
import type { EntryMap } from "../../entry-map.ts";
import type { Entry, Revision } from "../../ports/kv.ts";
import { Replica } from "../../replica.ts";
import { abortable, onAbort } from "../../signals.ts";
import { Crowd } from "./crowd.ts";
import type { Item, QueueKeys } from "./queue-item.ts";
import { type Overdue, QueueShelf, type Slot } from "./queue-shelf.ts";

/** How long the index stays open when nobody uses it, so that one claim after another finds it open. */
const lingerMs = 30_000;
/** The longest that a wait relies on timers and news alone. */
const longestPatienceMs = 10_000;
/** Later than every revision: until the one who passes something over says otherwise. */
export const forNow: Revision = 2n ** 64n;

/** A place of a bounded queue that nothing takes, and what an item left there that somebody removed by hand. */
export interface FreeSlot {
  readonly number: number;
  readonly left: Slot | undefined;
}

/**
 * One process's live copy of a queue's index, shared by all who claim from that queue there: what is due, in which order,
 * and which places of a bounded queue are free. What one of them is trying to get, the others pass over.
 */
export class QueueIndex {
  readonly #context: Context;
  readonly #keys: QueueKeys;
  readonly #forget: () => void;
  /** Those who compete for items. */
  readonly claimants: Crowd;
  /** Those who compete for the places of a bounded queue. */
  readonly producers: Crowd;
  readonly #bell = new Bell();
  /** What is out of date in the copy: each key, with the revision up to which it is. */
  readonly #passed = new Map<string, Revision>();
  #shelf: QueueShelf;
  /** What the shelf shows. */
  #shown: EntryMap | undefined;
  /** All places that were free when the shelf showed this, if they were few. */
  #free:
    | { readonly shown: EntryMap | undefined; readonly maxLength: number; readonly numbers: readonly number[] }
    | undefined;
  #replica: Replica | undefined;
  #opening: Promise<void> | undefined;
  #closing = new AbortController();
  #failure: { readonly reason: unknown } | undefined;
  #users = 0;
  #linger: Disposable | undefined;

  /** `forget` is called when nobody has used it for a while. */
  constructor(context: Context, keys: QueueKeys, forget: () => void) {
    this.#context = context;
    this.#keys = keys;
    this.#forget = forget;
    this.#shelf = new QueueShelf(keys);
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
    const { clock } = this.#context.backend;
    const patienceMs = Math.max(1, Math.min(longestPatienceMs, this.#current().nextDueMs(clock.wallMs())));
    const waiting = new AbortController();
    try {
      this.#ringOnceShown(waiting.signal);
      await this.#bell.after(since, { clock, patienceMs, signal });
    } finally {
      waiting.abort();
    }
    if (this.#failure) throw this.#failure.reason;
  }

  /** What is passed over may come and go between two looks of the copy: then nothing changes but the copy's revision. */
  #ringOnceShown(signal: AbortSignal): void {
    const replica = this.#replica as Replica;
    let first = forNow;
    for (const one of this.#passed.values()) if (one > replica.revision && one < first) first = one;
    if (first === forNow) return;
    const ring = () => this.#bell.ring();
    replica.reached(first, { signal }).then(ring, () => {});
  }

  /** What can be had now, best first: unclaimed items that are due, and items whose claim is overdue. */
  due(atMost: number): readonly (Item | Overdue)[] {
    return this.#dueOn(this.#current(), atMost);
  }

  /** The same, of what a list of the index has just shown. */
  dueIn(entries: Iterable<Entry>, atMost: number): readonly (Item | Overdue)[] {
    const shelf = new QueueShelf(this.#keys);
    for (const entry of entries) shelf.put(entry.key, entry);
    return this.#dueOn(shelf, atMost);
  }

  /** Passes over something as it is now, until the copy shows what became of it; or until what this gives is called. */
  pass(key: string, modified: Revision): () => void {
    this.#passed.set(key, modified);
    return () => {
      if (this.#passed.get(key) === modified) this.#passed.delete(key);
      this.#bell.ring();
    };
  }

  /** Some places that nothing takes, each with what is to be overwritten where somebody removed an item by hand. */
  freeSlots(atMost: number, maxLength: number): readonly FreeSlot[] {
    const shelf = this.#current();
    const { revision } = this.#replica as Replica;
    const free: FreeSlot[] = [];
    const passed: number[] = [];
    for (const number of this.#candidates(maxLength)) {
      if (free.length === atMost) return free;
      const key = this.#keys.slot(number);
      const slot = shelf.slot(key);
      if (slot?.id !== undefined && shelf.has(slot.id)) continue;
      if ((this.#passed.get(key) ?? 0n) > revision) passed.push(number);
      else free.push({ number, left: slot });
    }
    // All were looked at: while nothing changes, nobody need look at the taken ones again.
    this.#free = { shown: this.#shown, maxLength, numbers: [...free.map(({ number }) => number), ...passed] };
    return free;
  }

  /** The places that may be free. */
  #candidates(maxLength: number): Iterable<number> {
    const { shown, maxLength: of, numbers } = { ...this.#free };
    return numbers && shown === this.#shown && of === maxLength ? numbers : Array(maxLength).keys();
  }

  #dueOn(shelf: QueueShelf, atMost: number): readonly (Item | Overdue)[] {
    const isPassed = (key: string, modified: Revision) => modified <= (this.#passed.get(key) ?? -1n);
    return shelf.due(atMost, this.#context.backend.clock.wallMs(), isPassed);
  }

  /** The shelf, with all that the copy shows. */
  #current(): QueueShelf {
    const entries = Replica.entriesOf(this.#replica as Replica);
    if (entries === this.#shown) return this.#shelf;
    for (const [key, entry] of entries.since(this.#shown)) {
      this.#shelf.put(key, entry);
      // What became of it is shown now.
      if (entry === undefined || entry.modified > (this.#passed.get(key) ?? -1n)) this.#passed.delete(key);
      if (entry && key.startsWith(this.#keys.claims))
        this.#passed.delete(this.#keys.item(key.slice(this.#keys.claims.length)));
    }
    this.#shown = entries;
    return this.#shelf;
  }

  async #start(): Promise<void> {
    const { backend, closed } = this.#context;
    const closing = new AbortController();
    this.#closing = closing;
    this.#failure = undefined;
    try {
      const replica = await Replica.open(backend, this.#keys.index, closing.signal, closed);
      this.#replica = replica;
      this.#shelf = new QueueShelf(this.#keys);
      this.#shown = undefined;
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
      this.#forget();
    });
    const link = onAbort(closed, close);
    this.#linger = { [Symbol.dispose]: close };
  }
}

const shared = new WeakMap<Context, Map<string, QueueIndex>>();

/** The index of a queue, the same for all who use that queue in this process, for as long as anybody does. */
export function indexOf(context: Context, keys: QueueKeys): QueueIndex {
  const { prefix } = keys;
  const indexes = shared.get(context) ?? new Map<string, QueueIndex>();
  shared.set(context, indexes);
  const index = indexes.get(prefix) ?? new QueueIndex(context, keys, () => indexes.delete(prefix));
  indexes.set(prefix, index);
  return index;
}
