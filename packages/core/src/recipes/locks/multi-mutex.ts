import { checkFunction, checkOptions, outOfRange, wrongType } from "../../arguments.ts";
import { encode } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { Hold } from "../../hold.ts";
import { Line } from "../../line.ts";
import type { Limits } from "../../ports/backend.ts";

/** How many mutexes one commit can take: it needs three operations for each. */
const maxMutexes = 32;

/** Several mutexes, held together; one token serves for each of them, and all are lost when one is. */
export class MultiHold extends Hold {
  /** The keys held, one in each mutex's line, as the conclave's own `kv` knows them; in the order of keys. */
  get keys(): readonly string[] {
    return this.place.keys;
  }
}

/**
 * Several mutexes at once, all or none:
 *
 *   1. in one commit, take a place in the line of each;
 *   2. wait until it is our turn in all of them, as `line.ts` does: for the older key that is next in each line;
 *   3. we hold them all, with one token, since one commit created all the keys;
 *   4. to release, delete the keys in one commit.
 *
 * The philosophers of Dijkstra's "Hierarchical ordering of sequential processes" (Acta Informatica 1, 1971) cannot starve
 * on these: who takes both forks in one commit is before or after each neighbour in both lines, and everybody waits for
 * older places alone, so no ring of waiters can form. In whichever order the names are given makes no difference.
 *
 * The keys stand in the lines of the plain mutexes, so each excludes the other. A place holds up those behind it in each
 * of its lines, also while it waits for its turn in another.
 */
export class MultiMutex {
  readonly #context: Context;
  readonly #line: Line;

  constructor(context: Context, names: readonly Name[]) {
    const prefixes = prefixesOf(names, context.backend.limits);
    this.#context = context;
    this.#line = new Line(context, ...prefixes.map((own) => ({ own })));
  }

  /** Waits for all of them, and takes one round trip when they are free. Rejects as `Mutex.acquire`. */
  async acquire(options: WaitOptions = {}): Promise<MultiHold> {
    checkOptions("acquire", options, ["signal"]);
    return this.#acquire(options);
  }

  /**
   * All of them if nobody holds or waits for any, and otherwise undefined, in one round trip that then writes nothing.
   * Rejects as `acquire` does.
   */
  async tryAcquire(options: WaitOptions = {}): Promise<MultiHold | undefined> {
    checkOptions("tryAcquire", options, ["signal"]);
    const place = await this.#line.takeIfFree(encode(this.#context.owner), options);
    return place && new MultiHold(this.#context.backend, place);
  }

  /** Waits for all of them, runs `work` while holding them, and releases them: all as `Mutex.run`. */
  async run<T>(work: (hold: MultiHold) => Promise<T> | T, options: WaitOptions = {}): Promise<T> {
    checkFunction("work of run", work);
    checkOptions("run", options, ["signal"]);
    await using hold = await this.#acquire(options, options.signal);
    return await work(hold);
  }

  async #acquire(options: WaitOptions, until?: AbortSignal): Promise<MultiHold> {
    const place = await this.#line.take(encode(this.#context.owner), options);
    return new MultiHold(this.#context.backend, place, until);
  }
}

/** Where the lines are, in the order of keys. */
function prefixesOf(names: readonly Name[], limits: Limits): readonly string[] {
  if (!Array.isArray(names)) throw wrongType("names of the mutexes", names, "an array of names");
  if (names.length < 1 || names.length > maxMutexes)
    throw outOfRange("number of mutexes", names.length, `from 1 to ${maxMutexes}`);
  const prefixes = Array.from(names, (name: Name) => roomyPrefixOf("mutex", name, limits)).sort();
  const twice = prefixes.find((prefix, index) => prefix === prefixes[index + 1]);
  if (twice !== undefined) throw outOfRange("names of the mutexes", twice, "different from each other");
  return prefixes;
}
