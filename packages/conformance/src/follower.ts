import {
  type Backend,
  type Change,
  decode,
  type Entry,
  type Watch,
  type WatchBatch,
  type WatchRange,
} from "@conclave/core/backend";
import { expect } from "vitest";

/** The one way to read a watch: watch, look, apply what is later than the look; after a gap look again. */
export class Follower implements AsyncDisposable {
  /** All batches so far, as they came. */
  readonly batches: WatchBatch[] = [];
  /** What ended the iteration, if anything did. */
  failure: { readonly error: unknown } | undefined;
  ended = false;
  readonly #backend: Backend;
  readonly #range: WatchRange;
  readonly #watch: Watch;
  #entries = new Map<string, Entry>();
  #lookedAt = 0n;
  #reading: Promise<void> | undefined;

  private constructor(backend: Backend, range: WatchRange, watch: Watch) {
    this.#backend = backend;
    this.#range = range;
    this.#watch = watch;
  }

  static async open(backend: Backend, range: WatchRange, signal?: AbortSignal): Promise<Follower> {
    const follower = new Follower(backend, range, await backend.watches.watch(range, { signal }));
    await follower.#look();
    follower.#reading = follower.#read();
    return follower;
  }

  /** What the folded batches say is there: texts by key. */
  get texts(): Record<string, string> {
    return Object.fromEntries([...this.#entries].map(([key, entry]) => [key, decode(entry.value)]));
  }

  /** What the folded batches say is there, in key order. */
  get entries(): readonly Entry[] {
    return [...this.#entries.values()].sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
  }

  get gaps(): number {
    return this.batches.filter((batch) => "gap" in batch).length;
  }

  /** Every change so far, in order. */
  get changes(): readonly Change[] {
    return this.batches.flatMap((batch) => ("gap" in batch ? [] : batch.changes));
  }

  /** Holds the batches so far to what the contract says of any watch. */
  check(): void {
    let last = 0n;
    const batchOf = new Map<bigint, number>();
    const alive = new Map<string, bigint>();
    for (const [index, batch] of this.batches.entries()) {
      if ("gap" in batch) {
        alive.clear();
        continue;
      }
      expect(batch.revision, "batches come in revision order").toBeGreaterThanOrEqual(last);
      last = batch.revision;
      expect(batch.changes, "a batch says something").not.toHaveLength(0);
      for (const { key, modified, entry } of batch.changes) {
        expect(modified, `the change of ${key} is not later than its batch`).toBeLessThanOrEqual(batch.revision);
        if ("key" in this.#range) expect(key).toBe(this.#range.key);
        else expect(key.startsWith(this.#range.prefix), `${key} is in the range`).toBe(true);
        if (entry) {
          expect(entry).toMatchObject({ key, modified });
          expect(batchOf.get(modified) ?? index, "what one revision put is in one batch").toBe(index);
          batchOf.set(modified, index);
          const created = alive.get(key) ?? entry.created;
          expect(entry.created, `${key} is seen to be deleted before it is created anew`).toBe(created);
          alive.set(key, created);
        } else alive.delete(key);
      }
    }
  }

  async #look(): Promise<void> {
    const prefix = "key" in this.#range ? this.#range.key : this.#range.prefix;
    const { entries, revision } = await this.#backend.kv.list(prefix);
    const inRange = "key" in this.#range ? entries.filter((entry) => entry.key === prefix) : entries;
    this.#entries = new Map(inRange.map((entry) => [entry.key, entry]));
    this.#lookedAt = revision;
  }

  async #read(): Promise<void> {
    try {
      for await (const batch of this.#watch) {
        this.batches.push(batch);
        if ("gap" in batch) await this.#look();
        else for (const change of batch.changes) this.#apply(change);
      }
    } catch (error) {
      this.failure = { error };
    }
    this.ended = true;
  }

  #apply({ key, modified, entry }: Change): void {
    if (modified <= this.#lookedAt) return;
    if (entry) this.#entries.set(key, entry);
    else this.#entries.delete(key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watch[Symbol.asyncDispose]();
    await this.#reading;
  }
}
