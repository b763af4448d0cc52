import { callOptions, checkCount, checkOptions, outOfRange } from "../../arguments.ts";
import { backoffMs } from "../../backoff.ts";
import { encode } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { CoordinationError } from "../../errors.ts";
import { decodeJson, encodeJson } from "../../json.ts";
import type { CallOptions, Condition, Entry, Put } from "../../ports/kv.ts";
import { patiently } from "../../settle.ts";
import { linkSignals, sleep } from "../../signals.ts";
import { waitUntil } from "../../wait.ts";

/** What everybody who uses a latch must agree on. */
export interface LatchOptions {
  /** How often it is to be counted down before it opens; a whole number, 1 or more. */
  readonly count: number;
}

/** What the key of a latch says; as long as there is none, that nothing was counted in the first generation. */
interface State {
  readonly generation: number;
  readonly count: number;
  readonly remaining: number;
}

/** A state, and the condition under which it is still the current one. */
interface Seen {
  readonly state: State;
  readonly unchanged: Condition;
}

/**
 * A count that everybody who waits wants to see at zero, as Java's `CountDownLatch`, between processes:
 *
 *   1. to count down, write the rest in place of what was read, if it is unchanged, and once however often that must be
 *      sent (`receipts.ts`); who finds it changed takes what is there now, and tries again;
 *   2. whoever writes zero rings in the same commit, by writing a second key;
 *   3. to wait, read the count; while it is not zero watch the second key alone, which nobody writes before.
 *
 * At zero it stays open, and counting down does nothing more, until somebody resets it: then it has its full count again,
 * in the next generation. Who waited for the last one passes all the same, however late it wakes.
 */
export class Latch {
  readonly #context: Context;
  readonly #count: number;
  readonly #key: string;
  readonly #bell: string;
  /** What this object last wrote; a guess that saves a read. */
  #last: Seen | undefined;

  constructor(context: Context, name: Name, options: LatchOptions) {
    checkOptions("the latch", options, ["count"]);
    checkCount("count of the latch", options?.count);
    const prefix = roomyPrefixOf("latch", name, context.backend.limits);
    this.#context = context;
    this.#count = options.count;
    this.#key = `${prefix}count`;
    this.#bell = `${prefix}opened`;
  }

  /**
   * Counts down by `n`, 1 when absent, but never below zero; what then remains. Exactly once, also when answers are lost.
   * One round trip for the first count of all and for who counted last, one more for who must read the count first, and for
   * each time that another was faster.
   *
   * Rejects with `RangeError` when the latch is in use with another count. With `UNAVAILABLE` nothing was counted, with
   * `OUTCOME_UNKNOWN` (the session was lost before the store answered) or `signal.reason` it may have been; also with
   * `LEASE_LOST`, `CLOSED`, `LIMIT` or `DENIED`.
   */
  async countDown(n = 1, options: CallOptions = {}): Promise<number> {
    checkCount("n of countDown", n);
    checkOptions("countDown", options, callOptions);
    const { clock } = this.#context.backend;
    let { state, unchanged } = this.#last ?? this.#read(undefined);
    for (let conflicts = 0; state.remaining > 0; conflicts++) {
      const next = { ...state, remaining: Math.max(0, state.remaining - n) };
      const [written, entry] = await this.#replace(unchanged, next, options);
      if (written) return next.remaining;
      ({ state, unchanged } = this.#read(entry));
      if (conflicts === 0) continue;
      // Others count too: what was read just now will be out of date after the pause.
      await sleep(clock, backoffMs(clock, conflicts), options.signal);
      ({ state, unchanged } = await this.#look(options));
    }
    return 0;
  }

  /** What remains to be counted, in one round trip. Needs no session. Rejects as `kv.get`, and with `RangeError` as `countDown`. */
  async remaining(options: CallOptions = {}): Promise<number> {
    checkOptions("remaining", options, callOptions);
    return (await this.#look(options)).state.remaining;
  }

  /**
   * Resolves when the count is zero: in one round trip when it is now. Needs no session, and asks the store for nothing
   * while others count but for a look every ten seconds or so. An outage only delays it. Rejects with `signal.reason`, with `RangeError` when the latch is in use
   * with another count, with `CLOSED` when the conclave closes, and with `DENIED` as the store says.
   */
  async wait(options: WaitOptions = {}): Promise<void> {
    checkOptions("wait", options, ["signal"]);
    const { backend, closed } = this.#context;
    using linked = linkSignals(options.signal, closed);
    const { signal } = linked;
    const { state: first } = await patiently(backend.clock, signal, () => this.#look({ signal }));
    if (first.remaining === 0) return;
    const look = async () => {
      const { state } = await this.#look({ signal });
      return state.remaining === 0 || state.generation > first.generation ? "opened" : undefined;
    };
    await waitUntil(backend, [{ key: this.#bell }], look, { signal });
  }

  /**
   * Gives an open latch its full count again, for another generation; whether it was open. One that still counts stays as
   * it is, so of several who reset it at once one does. Two round trips. Rejects as `countDown`.
   */
  async reset(options: CallOptions = {}): Promise<boolean> {
    checkOptions("reset", options, callOptions);
    for (;;) {
      const { state, unchanged } = await this.#look(options);
      if (state.remaining > 0) return false;
      const next = { ...state, generation: state.generation + 1, remaining: state.count };
      const [written] = await this.#replace(unchanged, next, options);
      if (written) return true;
    }
  }

  /** Writes the next state, and rings when that opens it; otherwise what is there now. */
  async #replace(unchanged: Condition, next: State, options: CallOptions): Promise<[boolean, Entry | undefined]> {
    const put = { put: this.#key, value: encodeJson("the state of a latch", { ...next }) };
    const ring: Put[] = next.remaining > 0 ? [] : [{ put: this.#bell, value: encode(String(next.generation)) }];
    const once = await this.#context.receipts.commit(
      { if: [unchanged], then: [put, ...ring], else: [{ get: this.#key }] },
      options,
    );
    if (!once.applied) return [false, once.results[0]];
    // Who finds it open must look whether it still is.
    this.#last =
      next.remaining > 0 ? { state: next, unchanged: { key: this.#key, modified: once.revision } } : undefined;
    return [true, undefined];
  }

  async #look(options: CallOptions): Promise<Seen> {
    return this.#read(await this.#context.backend.kv.get(this.#key, options));
  }

  #read(entry: Entry | undefined): Seen {
    const key = this.#key;
    const count = this.#count;
    if (!entry) return { state: { generation: 1, count, remaining: count }, unchanged: { key, exists: false } };
    const state = stateOf(entry);
    if (state.count !== count)
      throw outOfRange("count of the latch", count, `${state.count}, with which it is in use (${key})`);
    return { state, unchanged: { key, modified: entry.modified } };
  }
}

function stateOf(entry: Entry): State {
  const { generation, count, remaining } = { ...(decodeJson(entry) as object) } as State;
  if ([generation, count, remaining].every((part) => Number.isSafeInteger(part) && part >= 0))
    return { generation, count, remaining };
  throw new CoordinationError("CORRUPT", `the value of the key ${entry.key} is not the state of a latch`);
}
