import { outOfRange } from "../../arguments.ts";
import { decode, encode } from "../../bytes.ts";
import { CoordinationError } from "../../errors.ts";
import { onAbort } from "../../signals.ts";
import type { Cell, Content } from "./cell.ts";

const largest = 2n ** 63n - 1n;
const smallest = -(2n ** 63n);

/** Whether it is a signed number of 64 bits. */
export function fits(number: bigint): boolean {
  return number >= smallest && number <= largest;
}

/** The number that a cell holds, 0 when it holds nothing; throws `CORRUPT` for what is none. */
export function numberIn(held: Content): bigint {
  if (held === undefined) return 0n;
  const text = decode(held.value);
  const number = /^-?\d{1,19}$/.test(text) ? BigInt(text) : undefined;
  if (number === undefined || !fits(number))
    throw new CoordinationError("CORRUPT", `the value of the key ${held.key} is not a signed number of 64 bits`);
  return number;
}

/** Somebody of this process who adds, and waits to hear the sum. */
interface Adder {
  readonly delta: bigint;
  readonly signal: AbortSignal | undefined;
  readonly hear: (sum: bigint) => void;
  readonly fail: (reason: unknown) => void;
}

/**
 * What the adders of one process add to the number in a cell:
 *
 *   1. all who come while a commit is under way ride together in the next, in the order in which they came;
 *   2. sum up from what the cell is known to hold; who would leave the 64 bits is left out, and told so once it is sure;
 *   3. swap the sum in, exactly once;
 *   4. tell each its own running sum; when another process was faster, all wait again, and go to 2 with what it wrote.
 */
export class Tally {
  readonly #cell: Cell;
  #waiting: Adder[] = [];
  #running = false;

  constructor(cell: Cell) {
    this.#cell = cell;
  }

  /** Adds, and gives the sum. Who waits and aborts rejects at once; who rides does once the commit has an outcome. */
  async add(delta: bigint, signal: AbortSignal | undefined): Promise<bigint> {
    signal?.throwIfAborted();
    let leave = () => {};
    using _ = onAbort(signal, () => leave());
    return await new Promise<bigint>((hear, fail) => {
      const adder = { delta, signal, hear, fail };
      leave = () => {
        if (!this.#waiting.includes(adder)) return;
        this.#waiting = this.#waiting.filter((other) => other !== adder);
        fail(signal?.reason);
      };
      this.#waiting.push(adder);
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    // Who comes in the same breath rides along.
    await undefined;
    for (let conflicts = 0; this.#waiting.length > 0; ) {
      const conflict = await this.#ride();
      conflicts = conflict ? conflicts + 1 : 0;
      if (conflict) await this.#cell.pause(conflicts, undefined).catch(() => {});
    }
    this.#running = false;
  }

  /** One commit for all who wait; whether it was in vain because another process was faster. */
  async #ride(): Promise<boolean> {
    let riders: readonly Adder[] = [];
    try {
      let held = this.#cell.known;
      // What is remembered may be out of date, so that nobody is refused for it.
      if (summedUp(this.#waiting, held).sums.size === 0) held = await this.#cell.read();
      riders = this.#waiting;
      this.#waiting = [];
      const { total, sums, refused } = summedUp(riders, held);
      if (sums.size > 0) {
        using givenUp = whenAllAbort(riders.map(({ signal }) => signal));
        const outcome = await this.#cell.swap(held?.modified, encode(String(total)), { signal: givenUp.signal });
        if (!outcome.swapped) {
          for (const { signal, fail } of riders) if (signal?.aborted) fail(signal.reason);
          this.#waiting = [...riders.filter(({ signal }) => !signal?.aborted), ...this.#waiting];
          return true;
        }
      }
      for (const [{ hear }, sum] of sums) hear(sum);
      for (const [{ fail }, error] of refused) fail(error);
    } catch (error) {
      const failed = riders.length > 0 ? riders : this.#waiting.splice(0);
      for (const { signal, fail } of failed) fail(signal?.aborted ? signal.reason : error);
    }
    return false;
  }
}

/** Each adder's running sum, or why it has none. */
function summedUp(adders: readonly Adder[], held: Content) {
  const sums = new Map<Adder, bigint>();
  const refused = new Map<Adder, unknown>();
  let total = 0n;
  try {
    total = numberIn(held);
  } catch (error) {
    return { total, sums, refused: new Map(adders.map((adder) => [adder, error])) };
  }
  for (const adder of adders) {
    const sum = total + adder.delta;
    if (fits(sum)) {
      total = sum;
      sums.set(adder, sum);
    } else refused.set(adder, outOfRange("the sum", sum, "a signed number of 64 bits"));
  }
  return { total, sums, refused };
}

/** A signal that aborts when all of these have, which they never do if one is absent. */
function whenAllAbort(signals: readonly (AbortSignal | undefined)[]): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const live = signals.filter((signal) => signal !== undefined);
  let left = signals.length;
  const links = live.map((signal) =>
    onAbort(signal, () => {
      left -= 1;
      if (left === 0) controller.abort(signal.reason);
    }),
  );
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const link of links) link[Symbol.dispose]();
    },
  };
}
