import { outOfRange } from "../../arguments.ts";
import type { Context, WaitOptions } from "../../context.ts";
import { inPlace, leave, lookFrom, type Place, takePlace, takePlaceIf } from "../../place.ts";
import type { Condition, Entry, Get, List, Listing } from "../../ports/kv.ts";
import type { Session } from "../../session.ts";
import { patiently, persistently } from "../../settle.ts";
import { type Heard, waitUntil } from "../../wait.ts";
import { claimed, sum } from "./permit-claim.ts";
import type { Limit, StoredLimit } from "./semaphore-limit.ts";

/** How a place stands: granted, as the list showed, or waiting for what is to be heard of. */
type Standing = { readonly granted: true; readonly oldest: Listing } | Waiting;

interface Waiting {
  readonly granted: false;
  readonly limit: Limit;
  /** Whom it waits for, in a word. */
  readonly awaited: string;
  readonly heard: readonly Heard[];
}

/** The limit, the oldest in line, and the newest, or the newest of those before us. */
type Seen = readonly [Entry | undefined, Listing, Listing];

/** How many of the oldest in line to ask for before the limit is known. */
const firstBound = 16;

/**
 * The line for a semaphore's permits: keys under a prefix, each on its owner's lease, in the order they were created. A key
 * has its permits when those of all older keys and its own are within the limit. Older keys only vanish, so what has them
 * keeps them; and since a key is for one permit or more, the oldest in line, as many as the limit, tell it all.
 *
 *   1. create our key, and in the same commit read the limit and the oldest in line;
 *   2. if we have our permits, go to 5;
 *   3. if all who are older may have theirs, we are the head of the line: watch them, and the limit; any of them matters.
 *      Otherwise watch only our predecessor, who is gone or says so when we may have become the head;
 *   4. when something changed look again, in one commit with our own key, and go to 2;
 *   5. if somebody stands behind us, rewrite our key to say that it was granted.
 *
 * So whatever happens wakes one waiter, and its successor when that becomes the head. None sleeps through its turn: who
 * watches its predecessor saw at that moment that it had not been granted, so a grant comes later, finds a key behind it,
 * and says so. For that an older key counts as one that may have been granted as long as it would be by the largest
 * limit there was since it was created: after a shrink it may still have what it no longer would get.
 */
export class PermitLine {
  /** Everyone's keys are below it. */
  readonly keys: string;
  readonly #context: Context;
  readonly #prefix: string;
  readonly #limit: StoredLimit;
  #bound: number;

  /** Of the semaphore whose keys, those of the line and that of the limit, are below `prefix`. */
  constructor(context: Context, prefix: string, keys: string, limit: StoredLimit, bound: number = firstBound) {
    this.keys = keys;
    this.#context = context;
    this.#prefix = prefix;
    this.#limit = limit;
    this.#bound = bound;
  }

  /** Waits for the permits. Throws `RangeError` when there are not so many; a shrink later only makes it wait. */
  take(weight: number, options: WaitOptions): Promise<Place> {
    const { clock } = this.#context.backend;
    return inPlace(this.#context, [this.keys], options, async (session, keys, signal) => {
      const newest = { list: this.keys, order: "newest", limit: 2, keysOnly: true } as const;
      const reads = [...this.#oldest(), newest] as const;
      const { place, results } = await takePlace(
        this.#context,
        { session, keys },
        claimed(weight, this.#context.owner),
        reads,
        signal,
      );
      const first = async () => {
        const standing = await this.#standing(place, weight, results, signal);
        if (!standing.granted) checkWeight(weight, standing.limit);
        return standing;
      };
      let standing = await unlessRefused(place, patiently(clock, signal, first));
      while (!standing.granted) standing = await this.#change(place, weight, standing, signal);
      return this.#granted(place, weight, standing.oldest);
    });
  }

  /**
   * Takes the permits if they are there and nobody waits: in one commit when nobody has any, and otherwise in a second
   * one, which depends on nobody having come since the first. Writes nothing when they are not there.
   */
  async takeIfFree(weight: number, options: WaitOptions): Promise<Place | undefined> {
    let free: readonly Condition[] = [
      { prefix: this.keys, empty: true },
      { key: this.#limit.key, exists: true },
    ];
    const attempt = async (session: Session, keys: readonly string[], signal: AbortSignal) => {
      const own = { session, keys };
      const taken = await takePlaceIf(
        this.#context,
        own,
        claimed(weight, this.#context.owner),
        free,
        this.#oldest(),
        signal,
      );
      const limit = await unlessRefused(taken.place, this.#agreed(taken.results[0], signal, weight));
      return { ...taken, limit };
    };
    for (;;) {
      const { place, results, limit } = await inPlace(this.#context, [this.keys], options, attempt);
      const [, { entries, more, revision }] = results;
      if (place) return this.#granted(place, weight, results[1]);
      if (sum(entries) + weight > limit.permits) return undefined;
      if (results[0] && !more) free = [{ prefix: this.#prefix, noneModifiedAfter: revision }];
    }
  }

  /** What is read to find out how a place stands. */
  #oldest(): readonly [Get, List] {
    return [{ get: this.#limit.key }, { list: this.keys, order: "oldest", limit: this.#bound + 1 }];
  }

  async #agreed(entry: Entry | undefined, signal: AbortSignal, weight = 1): Promise<Limit> {
    const limit = await this.#limit.agreed(entry, signal);
    this.#bound = limit.largest;
    checkWeight(weight, limit);
    return limit;
  }

  async #standing(place: Place, weight: number, seen: Seen, signal: AbortSignal): Promise<Standing> {
    const [entry, oldest, newest] = seen;
    const limit = await this.#agreed(entry, signal);
    const older = oldest.entries.filter(({ created }) => created < place.created);
    const isAll = !oldest.more || older.length < oldest.entries.length;
    const taken = sum(older);
    if (isAll && taken + weight <= limit.permits) return { granted: true, oldest };
    const predecessor = isAll ? older.at(-1) : newest.entries.find(({ created }) => created < place.created);
    // Too few were asked for while the limit was not known, or only later arrivals were seen.
    if (!isAll && (taken <= limit.largest || !predecessor)) return this.#look(place, weight, signal);
    const [own] = place.keys as [string];
    if (isAll && (!predecessor || taken <= largestSince(predecessor, limit))) {
      const only = new Set([this.#limit.key, own, ...older.map(({ key }) => key)]);
      return { granted: false, limit, awaited: "all", heard: [{ prefix: this.#prefix, only }] };
    }
    const { key, created } = predecessor as Entry;
    return { granted: false, limit, awaited: `${key} ${created}`, heard: [{ key }, { key: own }] };
  }

  async #look(place: Place, weight: number, signal: AbortSignal): Promise<Standing> {
    const before = {
      list: this.keys,
      order: "newest",
      limit: 1,
      keysOnly: true,
      createdBefore: place.created,
    } as const;
    const seen = await lookFrom(this.#context, place, [...this.#oldest(), before], signal);
    return this.#standing(place, weight, seen, signal);
  }

  /** Waits until something else, or nothing, is to be waited for. */
  #change(place: Place, weight: number, { awaited, heard }: Waiting, signal: AbortSignal): Promise<Standing> {
    const look = async () => {
      const now = await this.#look(place, weight, signal);
      return now.granted || now.awaited !== awaited ? now : undefined;
    };
    const recheckMs = place.session.lease.ttlMs;
    return waitUntil(this.#context.backend, heard, look, { signal, recheckMs });
  }

  /** The place whose permits were granted; it says so if, by the list that showed it, somebody stands behind it. */
  #granted(place: Place, weight: number, { entries, more }: Listing): Place {
    const { session, created } = place;
    const [key] = place.keys as [string];
    if (!more && entries.at(-1)?.key === key) return place;
    const { kv, clock } = this.#context.backend;
    const put = { put: key, value: claimed(weight, this.#context.owner, true), lease: session.lease };
    const say = () => kv.commit({ if: [{ key, created }], then: [put] }, { signal: session.signal });
    void persistently(clock, session.signal, say);
    return place;
  }
}

/** The largest limit there was since the entry was created. */
function largestSince({ created }: Entry, { permits, largest, modified }: Limit): number {
  return created > modified ? permits : largest;
}

/** What the check gives; when it refuses what was asked for, the place is given back first. */
async function unlessRefused<T>(place: Place | undefined, check: Promise<T>): Promise<T> {
  try {
    return await check;
  } catch (error) {
    if (place && error instanceof RangeError) await leave(place);
    throw error;
  }
}

function checkWeight(weight: number, { permits }: Limit): void {
  if (weight > permits) throw outOfRange("weight", weight, `at most ${permits}, the limit of the semaphore`);
}
