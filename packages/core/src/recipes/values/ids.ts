import { checkOptions, outOfRange, wrongType } from "../../arguments.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { CoordinationError, isCoordinationError } from "../../errors.ts";
import { abortable } from "../../signals.ts";
import { Cell } from "./cell.ts";
import { Tally } from "./tally.ts";

/** How ids are handed out. */
export interface IdsOptions {
  /**
   * How many to take from the store at a time: 1 to 1,000,000, by default 100. A process that ends leaves out what it has
   * not used of its last block. Processes may take blocks of different sizes.
   */
  readonly block?: number | undefined;
}

const largestBlock = 1_000_000;

/**
 * Whole numbers from 1, no two of which are the same, whoever asks; through one object each is larger than the one before.
 * This is the "Hi/Lo" of databases:
 *
 *   1. add the size of a block to how many ids were taken so far, exactly once (`tally.ts`): these ids are ours alone;
 *   2. hand them out, without the store, until there are none left; go to 1.
 *
 * All who wait share the taking of a block. Ids are skipped: those that a process did not use before it ended, and those of
 * a block of which the store did not say whether it was taken.
 */
export class Ids {
  readonly #taken: Tally;
  readonly #block: bigint;
  #next = 1n;
  #last = 0n;
  #taking: Promise<void> | undefined;

  constructor(context: Context, name: Name, options: IdsOptions = {}) {
    checkOptions("ids", options, ["block"]);
    const { block = 100 } = options;
    if (typeof block !== "number") throw wrongType("block of ids", block, "a number");
    if (!Number.isSafeInteger(block) || block < 1 || block > largestBlock)
      throw outOfRange("block of ids", block, `a whole number from 1 to ${largestBlock}`);
    this.#taken = new Tally(new Cell(context, `${roomyPrefixOf("ids", name, context.backend.limits)}taken`));
    this.#block = BigInt(block);
  }

  /**
   * An id that nobody else has, or ever will have. One round trip for each block, none for the ids of a block.
   *
   * Rejects with `signal.reason` at once; with `UNAVAILABLE`, `LEASE_LOST` or `LIMIT` when no block could be taken, so try
   * again; with `DENIED` or `CORRUPT` as the store says, and with `RangeError` when all ids of 64 bits are taken.
   */
  async next(options: WaitOptions = {}): Promise<bigint> {
    checkOptions("next", options, ["signal"]);
    const { signal } = options;
    signal?.throwIfAborted();
    while (this.#next > this.#last) {
      this.#taking ??= this.#take().finally(() => {
        this.#taking = undefined;
      });
      await abortable(this.#taking, signal);
    }
    const id = this.#next;
    this.#next += 1n;
    return id;
  }

  async #take(): Promise<void> {
    const last = await this.#taken.add(this.#block, undefined).catch((error: unknown) => {
      if (!isCoordinationError(error, "OUTCOME_UNKNOWN")) throw error;
      // Whatever became of the block, nobody has any of it.
      throw new CoordinationError("UNAVAILABLE", `no ids could be taken: ${error.message}`, { cause: error });
    });
    this.#next = last - this.#block + 1n;
    this.#last = last;
  }
}
