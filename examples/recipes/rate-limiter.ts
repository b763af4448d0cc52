// A recipe of one's own, on the public parts of @conclave/core alone. `docs/writing-a-recipe.md` walks through it.
import { type Conclave, decode, type Entry, encode, isCoordinationError, type Replica, sleep } from "@conclave/core";

/** So many permits in any window of time, so many milliseconds long; the same for all processes that share it. */
export interface Limit {
  readonly permits: number;
  readonly windowMs: number;
}

// #region algorithm
/**
 * At most so many permits in any window of time, over all processes. Each permit is a slot, a key that is written whenever
 * the permit is spent:
 *
 *   1. watch the slots, and note when each write was first seen;
 *   2. find a slot that was never written, or whose last write was first seen a whole window ago;
 *   3. write it, if nobody else did since: the permit is spent;
 *   4. if there is none, wait until the first may be used again, and go to 2; if somebody did, go to 2.
 *
 * No process compares its clock to another's. What we see, we see after it was written, so between two writes of one slot
 * there is always a window at least.
 */
// #endregion
export class RateLimiter implements AsyncDisposable {
  readonly #conclave: Conclave;
  readonly #slots: Replica;
  readonly #limit: Limit;
  readonly #firstSeen = new Map<string, { readonly modified: bigint; readonly atMs: number }>();

  private constructor(conclave: Conclave, slots: Replica, limit: Limit) {
    this.#conclave = conclave;
    this.#slots = slots;
    this.#limit = limit;
  }

  // #region open
  static async open(conclave: Conclave, name: string, limit: Limit): Promise<RateLimiter> {
    // Escaped, and with a "/" behind it, so that no name's keys are among another's.
    const slots = await conclave.replica(`rate-limiter/${encodeURIComponent(name)}/`);
    const limiter = new RateLimiter(conclave, slots, limit);
    void limiter.#note().catch(() => {}); // it ends with the replica, and then acquire says why
    return limiter;
  }
  // #endregion

  // #region acquire
  /**
   * Waits for a permit and spends it. Rejects with `signal.reason`, after which one may have been spent all the same, and
   * with `UNAVAILABLE` when the store does not answer and none was.
   */
  async acquire({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const { clock } = this.#conclave.backend;
    for (;;) {
      signal?.throwIfAborted();
      const slots = Array.from({ length: this.#limit.permits }, (_, index) => `${this.#slots.prefix}${index}`);
      const waits = slots.map((key) => this.#waitMs(key));
      const free = slots.filter((_, index) => waits[index] === 0);
      // Any of them, so that those who come at once do not all want the same.
      const slot = free[Math.floor(clock.random() * free.length)];
      if (slot === undefined) await sleep(clock, Math.min(...waits), signal);
      else if (await this.#spend(slot, signal)) return;
    }
  }
  // #endregion

  // #region spend
  async #spend(key: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { kv, clock } = this.#conclave.backend;
    const before = this.#slots.get(key);
    const unchanged = before ? { key, modified: before.modified } : { key, exists: false };
    const id = clock.id(); // named before it is written: by it we know our own write again
    for (let unknown = false; ; ) {
      try {
        const write = { if: [unchanged], then: [{ put: key, value: encode(id) }], else: [{ get: key }] } as const;
        const commit = await kv.commit(write, { signal });
        await this.#slots.reached(commit.revision, { signal });
        if (commit.succeeded) return true;
        const [now] = commit.results;
        return now !== undefined && decode(now.value) === id;
      } catch (error) {
        // Sent again it does no harm: if it was applied, the slot is not unchanged any more.
        unknown ||= isCoordinationError(error, "OUTCOME_UNKNOWN");
        if (!unknown || !isCoordinationError(error, "OUTCOME_UNKNOWN", "UNAVAILABLE")) throw error;
      }
      await sleep(clock, 50 * clock.random(), signal);
    }
  }
  // #endregion

  // #region wait
  /** For how long a slot is spent yet, by what we have seen; 0 when it is free. */
  #waitMs(key: string): number {
    const entry = this.#slots.get(key);
    return entry
      ? Math.max(0, this.#see(entry) + this.#limit.windowMs - this.#conclave.backend.clock.monotonicMs())
      : 0;
  }

  /** When we first saw what was last written to a slot. */
  #see({ key, modified }: Entry): number {
    const seen = this.#firstSeen.get(key);
    if (seen?.modified === modified) return seen.atMs;
    const atMs = this.#conclave.backend.clock.monotonicMs();
    this.#firstSeen.set(key, { modified, atMs });
    return atMs;
  }

  async #note(): Promise<void> {
    for await (const { entries } of this.#slots) for (const entry of entries.values()) this.#see(entry);
  }
  // #endregion

  [Symbol.asyncDispose](): Promise<void> {
    return this.#slots[Symbol.asyncDispose]();
  }
}
