import type { Context, WaitOptions } from "./context.ts";
import { inPlace, lookFrom, type Place, takePlace, takePlaceIf } from "./place.ts";
import type { CallOptions, Condition, Entry, List, Listing } from "./ports/kv.ts";
import { patiently } from "./settle.ts";
import { waitUntil } from "./wait.ts";

/** One queue of a line: where our key goes, and whom it waits for. */
export interface Lane {
  /** Our key is created below this prefix. */
  readonly own: string;
  /** It waits for every older key below this one; by default for those below `own`. */
  readonly ahead?: string | undefined;
  /** Of the older keys, one that need not be waited for, nor those older still; by default there is none. */
  readonly passable?: ((entry: Entry) => boolean) | undefined;
}

/**
 * The line of those who want what only one can have: keys under a prefix, each on its owner's lease, in the order they
 * were created. The oldest has it. This is the layout of Go's `concurrency` package for etcd, and the waiting is that of
 * Hunt, Konar, Junqueira and Reed, "ZooKeeper: Wait-free coordination for Internet-scale systems" (USENIX ATC 2010,
 * section 2.4, "Simple Locks without Herd Effect"): each watches only its predecessor, so a release wakes one waiter.
 *
 * Who stands in several lanes at once has one key in each, all created by one commit. Everyone waits for older keys
 * alone, so no ring of waiters can form.
 */
export class Line {
  readonly #context: Context;
  readonly #lanes: readonly Lane[];

  constructor(context: Context, ...lanes: readonly Lane[]) {
    this.#context = context;
    this.#lanes = lanes;
  }

  /**
   * Waits in line until it is our turn:
   *
   *   1. name our key before it is created, so that it is known whatever happens to the answer;
   *   2. create it, and in the same commit find our predecessor: whoever was created last before us;
   *   3. without a predecessor it is our turn;
   *   4. otherwise watch the predecessor and our own key until the predecessor is gone, and in one commit re-read our
   *      own key and find the next predecessor; go to 3.
   *
   * Rejects with `signal.reason`, or why the session ended, and then leaves the line. A place given as `instead` is given
   * back in the commit of step 2, or if that fails, by itself.
   */
  take(value: Uint8Array, options: WaitOptions, instead?: Place): Promise<Place> {
    return inPlace(this.#context, this.#prefixes, options, async (session, keys, signal) => {
      // Later arrivals, and our own key, may stand before our predecessor: then ask for those created before us.
      const newest = this.#lanes.map((lane) => ({ ...this.#older(lane), limit: 2 }));
      // What another session had went with it.
      const old = instead?.session === session ? instead : undefined;
      const { place, results } = await takePlace(this.#context, { session, keys }, value, newest, signal, old);
      const listings = results as readonly Listing[];
      const unsure = listings.some(
        ({ entries, more }) => more && entries.every(({ created }) => created >= place.created),
      );
      let ahead = unsure
        ? await patiently(this.#context.backend.clock, signal, () => this.#predecessors(place, signal))
        : this.#predecessorsIn(listings, place);
      while (ahead.length > 0) ahead = await this.#gone(place, ahead, signal);
      return place;
    });
  }

  /**
   * Takes the place only if nobody is ahead, in one commit that otherwise writes nothing. When those ahead are all to be
   * passed, it takes another, which depends on nobody having come since.
   */
  async takeIfFree(value: Uint8Array, options: WaitOptions): Promise<Place | undefined> {
    const prefixes = this.#lanes.map(({ own, ahead = own }) => ahead);
    // Where nobody can be passed, nobody need be looked at.
    const newest = this.#lanes.every(({ passable }) => passable) ? this.#lanes.map((lane) => this.#older(lane)) : [];
    let free: readonly Condition[] = prefixes.map((prefix) => ({ prefix, empty: true }));
    for (;;) {
      const { place, results } = await inPlace(this.#context, this.#prefixes, options, (session, keys, signal) =>
        takePlaceIf(this.#context, { session, keys }, value, free, newest, signal),
      );
      const listings = results as readonly Listing[];
      const passable = this.#lanes.every(({ passable }, index) =>
        listings[index]?.entries.every((one) => passable?.(one)),
      );
      if (place || !passable) return place;
      free = listings.map(({ revision }, index) => ({
        prefix: prefixes[index] as string,
        noneModifiedAfter: revision,
      }));
    }
  }

  /** Everyone in line, whose turn it is first. */
  async entries(options?: CallOptions): Promise<readonly Entry[]> {
    return (await this.#context.backend.kv.list(this.#prefixes[0] as string, { ...options, order: "oldest" })).entries;
  }

  get #prefixes(): readonly string[] {
    return this.#lanes.map(({ own }) => own);
  }

  /** What to ask of the store to find who is ahead in a lane: the newest there, whose value matters only to `passable`. */
  #older({ own, ahead = own, passable }: Lane): List {
    return { list: ahead, order: "newest", limit: 1, keysOnly: passable === undefined };
  }

  async #predecessors(place: Place, signal: AbortSignal): Promise<readonly Entry[]> {
    const reads = this.#lanes.map((lane) => ({ ...this.#older(lane), createdBefore: place.created }));
    return this.#predecessorsIn((await lookFrom(this.#context, place, reads, signal)) as readonly Listing[], place);
  }

  /** Who is waited for, at most one in each lane. */
  #predecessorsIn(listings: readonly Listing[], place: Place): readonly Entry[] {
    return this.#lanes.flatMap(({ passable }, index) => {
      const entry = listings[index]?.entries.find(({ created }) => created < place.created);
      return entry === undefined || passable?.(entry) ? [] : [entry];
    });
  }

  /** Waits until others, or nobody, are the predecessors; while some of them leave, it goes on watching the rest. */
  async #gone(place: Place, ahead: readonly Entry[], signal: AbortSignal): Promise<readonly Entry[]> {
    const look = async () => {
      const now = await this.#predecessors(place, signal);
      const others = now.some((entry) => !ahead.some((one) => isSame(one, entry)));
      return others || now.length === 0 ? now : undefined;
    };
    const recheckMs = place.session.lease.ttlMs;
    const ranges = [...ahead, ...place.keys.map((key) => ({ key }))].map(({ key }) => ({ key }));
    return waitUntil(this.#context.backend, ranges, look, { signal, recheckMs });
  }
}

function isSame(one: Entry, other: Entry): boolean {
  return one.key === other.key && one.created === other.created;
}
