import { callOptions, checkCount, checkFunction, checkOptions } from "../../arguments.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { Hold } from "../../hold.ts";
import type { Place } from "../../place.ts";
import type { CallOptions, Listing } from "../../ports/kv.ts";
import { tokenOf } from "../../token.ts";
import type { Contender } from "./mutex.ts";
import { claimOf, sum } from "./permit-claim.ts";
import { PermitLine } from "./permit-line.ts";
import { type Limit, mostPermits, StoredLimit } from "./semaphore-limit.ts";

/** What a program says of a semaphore. */
export interface SemaphoreOptions {
  /**
   * How many permits there are, from 1 to 1,000,000,000. The first user stores it, for all; it may be left out where it is
   * stored already.
   */
  readonly limit?: number | undefined;
}

/** How to ask for permits. */
export interface PermitOptions extends WaitOptions {
  /** How many permits, all or none; 1 by default. */
  readonly weight?: number | undefined;
}

/** Someone who holds permits or waits for them. */
export interface PermitContender extends Contender {
  /** How many. */
  readonly weight: number;
  /** Whether it has them; unknown, and false, of some who got them before the limit shrank. */
  readonly granted: boolean;
}

/** Permits of a semaphore, held until they are released or lost; with `signal`, `isHeld`, `token` and `guard` as any hold. */
export class Permit extends Hold {
  /** How many permits it is. */
  readonly weight: number;

  /** For `Semaphore`. */
  constructor(context: Context, place: Place, weight: number, until?: AbortSignal) {
    super(context.backend, place, until);
    this.weight = weight;
  }
}

/**
 * So many at a time, among processes: permits, of which everyone takes one or more, by the line of `permit-line.ts`. They
 * are granted in the order in which the store took the requests, so one who wants many is not overtaken by those who
 * want few. Permits of a process that dies return at the end of its lease.
 *
 *   1. take a place in line, for so many permits;
 *   2. when those of all who are older, and our own, are within the limit, we hold them;
 *   3. to release, delete the key, if it is still that incarnation.
 *
 * Free, it takes one round trip. The limit is stored once, for all; a program that says another one is refused, until
 * somebody sets it by `resize`. This is the algorithm of Apache Curator's `InterProcessSemaphoreV2`, without its lock: the
 * place in the line of keys, which a store with transactions gives in one step, is all that is needed.
 */
export class Semaphore {
  readonly #context: Context;
  readonly #limit: StoredLimit;
  readonly #line: PermitLine;

  constructor(context: Context, name: Name, options: SemaphoreOptions = {}) {
    checkOptions("semaphore", options, ["limit"]);
    const { limit } = options;
    if (limit !== undefined) checkCount("limit of the semaphore", limit, mostPermits);
    const prefix = roomyPrefixOf("semaphore", name, context.backend.limits, "permits/");
    const permits = `${prefix}permits/`;
    this.#context = context;
    this.#limit = new StoredLimit(context, `${prefix}limit`, permits, limit);
    this.#line = new PermitLine(context, prefix, permits, this.#limit, limit);
  }

  /**
   * Waits for the permits, for as long as it takes. Rejects as `Mutex.acquire` does; with `RangeError` when the weight is
   * more than the limit, when others use another limit than this, and when neither they nor this say what it is; and with
   * `CORRUPT` when another program wrote the limit.
   */
  async acquire(options: PermitOptions = {}): Promise<Permit> {
    checkPermitOptions("acquire", options);
    return this.#acquire(options);
  }

  /**
   * The permits if there are so many and nobody waits, and otherwise undefined. It takes one round trip when they are not
   * there, writing nothing, or when nobody holds any; and two when others do and there are enough. Rejects as `acquire`.
   */
  async tryAcquire(options: PermitOptions = {}): Promise<Permit | undefined> {
    checkPermitOptions("tryAcquire", options);
    const { weight = 1, ...wait } = options;
    const place = await this.#line.takeIfFree(weight, wait);
    return place && new Permit(this.#context, place, weight);
  }

  /** Waits for the permits, runs `work` while holding them, and releases, as `Mutex.run` does. */
  async run<T>(work: (permit: Permit) => Promise<T> | T, options: PermitOptions = {}): Promise<T> {
    checkFunction("work of run", work);
    checkPermitOptions("run", options);
    await using permit = await this.#acquire(options, options.signal);
    return await work(permit);
  }

  /**
   * Sets how many permits there are, for all; from now on it does not matter what programs say the limit is. More permits
   * go to who waits. With fewer nobody loses any: they are granted again once enough have returned. Takes two round trips,
   * and goes on while its outcome is unknown, for `timeoutMs` each time. Rejects with `UNAVAILABLE`, `signal.reason` (after
   * which it may or may not have been set), `CORRUPT`, and otherwise as `kv.commit` does.
   */
  async resize(limit: number, options: CallOptions = {}): Promise<void> {
    checkCount("limit of resize", limit, mostPermits);
    checkOptions("resize", options, callOptions);
    await this.#limit.resize(limit, options);
  }

  /** How many permits there are in all; undefined when nobody has said so yet. One round trip; rejects as `kv.get` does. */
  async limit(options: CallOptions = {}): Promise<number | undefined> {
    checkOptions("limit", options, callOptions);
    return (await this.#limit.stored(options))?.permits;
  }

  /**
   * How many permits one who comes now would get at once; undefined when there is no limit yet. For people, since it is out
   * of date when it arrives. One round trip, and no session. Rejects as `kv.commit` does.
   */
  async available(options: CallOptions = {}): Promise<number | undefined> {
    checkOptions("available", options, callOptions);
    const [limit, { entries }] = await this.#everyone(options);
    return limit && Math.max(0, limit.permits - sum(entries));
  }

  /** Everyone who holds permits or waits for them, in order: for people, as `available` is. */
  async queue(options: CallOptions = {}): Promise<readonly PermitContender[]> {
    checkOptions("queue", options, callOptions);
    const [limit, { entries }] = await this.#everyone(options);
    let taken = 0;
    return entries.map((entry) => {
      const { weight, owner, granted } = claimOf(entry);
      const { key, created, lease } = entry;
      taken += weight;
      return { weight, granted: granted || taken <= (limit?.permits ?? 0), owner, token: tokenOf(created), key, lease };
    });
  }

  #everyone(options: CallOptions): Promise<[Limit | undefined, Listing]> {
    return this.#limit.storedWith({ list: this.#line.keys, order: "oldest" }, options);
  }

  async #acquire({ weight = 1, ...wait }: PermitOptions, until?: AbortSignal): Promise<Permit> {
    return new Permit(this.#context, await this.#line.take(weight, wait), weight, until);
  }
}

function checkPermitOptions(call: string, options: PermitOptions): void {
  checkOptions(call, options, ["weight", "signal"]);
  if (options.weight !== undefined) checkCount(`weight of ${call}`, options.weight, mostPermits);
}
