import type { Watch, WatchBatch } from "./ports/watches.ts";

/**
 * A watch an adapter pushes into and one reader pulls from. When the reader falls more than `capacity` batches behind,
 * what it has not read becomes one gap, unless the adapter minds `pending` and `drained` and resends instead.
 */
export class WatchFeed implements Watch {
  readonly #capacity: number;
  readonly #onEnd: () => void;
  #batches: WatchBatch[] = [];
  #failure: { readonly error: unknown } | undefined;
  #ended = false;
  #wake: (() => void) | undefined;
  /** Called when the reader has taken everything. */
  drained: (() => void) | undefined;

  /** `onEnd` is called once, when the watch ends in whatever way; `capacity` is a number of batches. */
  constructor(onEnd: () => void, capacity = 1_000) {
    this.#onEnd = onEnd;
    this.#capacity = capacity;
  }

  /** Batches the reader has not taken. */
  get pending(): number {
    return this.#batches.length;
  }

  /** Whether it was disposed, left by its reader, or failed; it then takes nothing more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Gives the reader a batch, in the order of the calls. */
  push(batch: WatchBatch): void {
    if (this.#ended) return;
    if (this.#batches.length >= this.#capacity) this.#batches = [{ gap: true }];
    else this.#batches.push(batch);
    this.#wake?.();
  }

  /** Ends the watch with an error: what was not read is dropped, since the reader learns that it must look again. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#failure = { error };
    this.#end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<WatchBatch, void, undefined> {
    try {
      for (;;) {
        const batch = this.#batches.shift();
        if (this.#failure) throw this.#failure.error;
        if (this.#ended) return;
        if (batch) {
          if (this.#batches.length === 0) this.drained?.();
          yield batch;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          this.#wake = undefined;
        }
      }
    } finally {
      this.#end();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#batches = [];
    this.#wake?.();
    this.#onEnd();
  }
}
