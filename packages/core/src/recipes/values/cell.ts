import { backoffMs } from "../../backoff.ts";
import type { Context } from "../../context.ts";
import { CoordinationError } from "../../errors.ts";
import type { CallOptions, Entry, Revision } from "../../ports/kv.ts";
import { abortable, linkSignals, sleep } from "../../signals.ts";

/** What a cell holds, and since when; undefined when nothing. */
export type Content = Pick<Entry, "key" | "value" | "modified"> | undefined;

/** What became of a swap: when it was made, or what the cell held instead. */
export type Swapped =
  | { readonly swapped: true; readonly revision: Revision }
  | { readonly swapped: false; readonly held: Content };

/**
 * One key that many processes change, each by what it knows the key to hold. It remembers what the key last held. That may
 * be out of date, which costs a round trip and no mistake: revisions are compared, not contents, so a key that was changed
 * back, or was deleted and created anew, is never taken for one that nobody touched.
 */
export class Cell {
  readonly #context: Context;
  readonly #key: string;
  #known: Content;
  #guessed = true;
  /** Resolves when nobody of this process is changing it. */
  #turn: Promise<void> = Promise.resolve();

  constructor(context: Context, key: string) {
    this.#context = context;
    this.#key = key;
  }

  /** What it held when it was last read or written here; nothing, as a guess, before that. */
  get known(): Content {
    return this.#known;
  }

  /** What it holds now; one round trip, and no session. */
  async read(options?: CallOptions): Promise<Content> {
    return this.#learn(await this.#context.backend.kv.get(this.#key, options));
  }

  /** Writes, or with undefined deletes, whatever it holds. One round trip, and exactly once. */
  async write(value: Uint8Array | undefined, options?: CallOptions): Promise<Revision> {
    const write = value === undefined ? { delete: this.#key } : { put: this.#key, value };
    const written = await this.#context.receipts.commit({ then: [write] }, options);
    if (!written.applied)
      throw new CoordinationError("UNAVAILABLE", `somebody else changed the receipt of a write to ${this.#key}`);
    this.#learn(value && { key: this.#key, value, modified: written.revision });
    return written.revision;
  }

  /** Writes if it was last written then, or holds nothing; otherwise reads. One round trip either way, and exactly once. */
  async swap(modified: Revision | undefined, value: Uint8Array, options?: CallOptions): Promise<Swapped> {
    const key = this.#key;
    const unchanged = modified === undefined ? { key, exists: false } : { key, modified };
    const txn = { if: [unchanged], then: [{ put: key, value }], else: [{ get: key }] } as const;
    const outcome = await this.#context.receipts.commit(txn, options);
    if (outcome.applied) {
      const { revision } = outcome;
      this.#learn({ key, value, modified: revision });
      return { swapped: true, revision };
    }
    return { swapped: false, held: this.#learn(outcome.results[0]) };
  }

  /**
   * Writes what `next` makes of what it holds, and gives the revision; nothing, and undefined, where `next` gives that:
   *
   *   1. wait for the changes of this process that came before;
   *   2. make the next content of what the cell is known to hold, which is read where nothing is known;
   *   3. if there is none, or `next` throws, let that count only for what was read since this change began;
   *   4. swap; when somebody else was faster, go to 2 with what they wrote.
   */
  async change(next: (held: Content) => Uint8Array | undefined, options: CallOptions): Promise<Revision | undefined> {
    using _ = await this.#inTurn(options.signal);
    let fresh = this.#guessed;
    let held = fresh ? await this.read(options) : this.#known;
    for (let conflicts = 0; ; fresh = true) {
      const value = madeBy(() => next(held), fresh);
      if (value === undefined && fresh) return undefined;
      if (value === undefined) held = await this.read(options);
      else {
        const outcome = await this.swap(held?.modified, value, options);
        if (outcome.swapped) return outcome.revision;
        held = outcome.held;
        conflicts += 1;
        await this.pause(conflicts, options.signal);
      }
    }
  }

  /**
   * What to wait after so many conflicts in a row: every other time nothing, since what was just read is most likely still
   * true, and then a time that grows, so that many who conflict spread out. Some process succeeds each time another does
   * not; one that is always slower than the rest may wait for long.
   */
  async pause(conflicts: number, signal: AbortSignal | undefined): Promise<void> {
    const { clock } = this.#context.backend;
    using linked = linkSignals(signal, this.#context.closed);
    if (conflicts % 2 === 0) await sleep(clock, backoffMs(clock, conflicts / 2), linked.signal);
  }

  #learn(held: Content): Content {
    this.#known = held;
    this.#guessed = false;
    return held;
  }

  async #inTurn(signal: AbortSignal | undefined): Promise<Disposable> {
    const before = this.#turn;
    let pass = () => {};
    this.#turn = new Promise((resolve) => {
      pass = resolve;
    });
    const turn = { [Symbol.dispose]: () => void before.then(pass) };
    try {
      await abortable(before, signal);
      return turn;
    } catch (error) {
      turn[Symbol.dispose]();
      throw error;
    }
  }
}

/** What it gives; where it throws nothing, unless that counts. */
function madeBy(make: () => Uint8Array | undefined, counts: boolean): Uint8Array | undefined {
  try {
    return make();
  } catch (error) {
    if (counts) throw error;
    return undefined;
  }
}
