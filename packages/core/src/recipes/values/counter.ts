import { callOptions, checkOptions, outOfRange, wrongType } from "../../arguments.ts";
import { encode } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import type { CallOptions } from "../../ports/kv.ts";
import { Cell, type Content } from "./cell.ts";
import { fits, numberIn, Tally } from "./tally.ts";

/**
 * A whole number, signed, of 64 bits, that processes count with; it begins at 0. Every change is applied exactly once, also
 * when the store's answer is lost, which is where counters commonly count twice: `receipts.ts` says how.
 *
 * An `add` takes one round trip, and one more each time another process was faster; all who add through one object while a
 * commit is under way share the next (`tally.ts`). Keep the object, then: what it remembers, and who shares, is its own.
 */
export class Counter {
  readonly #cell: Cell;
  readonly #tally: Tally;

  constructor(context: Context, name: Name) {
    this.#cell = new Cell(context, `${roomyPrefixOf("counter", name, context.backend.limits)}value`);
    this.#tally = new Tally(this.#cell);
  }

  /** What it is now, in one round trip; needs no session. Rejects as `kv.get` does, and with `CORRUPT` for no number. */
  async get(options: CallOptions = {}): Promise<bigint> {
    checkOptions("get", options, callOptions);
    return numberIn(await this.#cell.read(options));
  }

  /**
   * Adds, 1 by default, and gives the sum. It waits for as long as other processes are faster; for a deadline give
   * `AbortSignal.timeout(ms)`. Who waits for a commit to end, to ride in the next, rejects with `signal.reason` at once;
   * who rides does when the commit has ended, unless that was in time to give the sum.
   *
   * Surely nothing was added when it rejects with `RangeError`, since the sum would leave the 64 bits, or with
   * `UNAVAILABLE`, `LEASE_LOST`, `LIMIT`, `DENIED` or `CORRUPT`. It may have been with `OUTCOME_UNKNOWN`, when the session
   * ended before the store said so, and with `signal.reason`, after which it may also be in a moment yet.
   */
  async add(delta: bigint | number = 1n, options: WaitOptions = {}): Promise<bigint> {
    if (typeof delta !== "bigint" && typeof delta !== "number") throw wrongType("delta", delta, "a bigint or a number");
    if (typeof delta === "number" && !Number.isSafeInteger(delta))
      throw outOfRange("delta", delta, "a whole number that a number holds exactly, or a bigint");
    checkOptions("add", options, ["signal"]);
    return this.#tally.add(BigInt(delta), options.signal);
  }

  /**
   * Makes it this number, whatever it is, in one round trip. Rejects as `add` does: it is sent again, for `timeoutMs` each
   * time, while its outcome is unknown.
   */
  async set(value: bigint, options: CallOptions = {}): Promise<void> {
    checkNumber("value", value);
    checkOptions("set", options, callOptions);
    await this.#cell.write(encode(String(value)), options);
  }

  /** Makes it `value` if it is `expected`, and says whether it was. Rejects as `add` does. */
  async compareAndSet(expected: bigint, value: bigint, options: WaitOptions = {}): Promise<boolean> {
    checkNumber("expected", expected);
    checkNumber("value", value);
    checkOptions("compareAndSet", options, ["signal"]);
    const next = (held: Content) => (numberIn(held) === expected ? encode(String(value)) : undefined);
    return (await this.#cell.change(next, options)) !== undefined;
  }
}

function checkNumber(argument: string, value: unknown): asserts value is bigint {
  if (typeof value !== "bigint") throw wrongType(argument, value, "a bigint");
  if (!fits(value)) throw outOfRange(argument, value, "a signed number of 64 bits");
}
