import { expect } from "vitest";
import type { Scene } from "../context.ts";
import type { Process } from "./process.ts";

/** Reads a stream of states into a list, for as long as the test lasts. */
export class Observer<T> implements AsyncDisposable {
  readonly seen: T[] = [];
  /** What ended the stream, if it failed. */
  failure: { readonly error: unknown } | undefined;
  ended = false;
  readonly #stop = new AbortController();
  readonly #reading: Promise<void>;
  readonly #process: Process;
  readonly #scene: Scene;

  constructor(process: Process, scene: Scene, open: (signal: AbortSignal) => AsyncIterable<T>) {
    this.#process = process;
    this.#scene = scene;
    this.#reading = this.#read(open(this.#stop.signal));
    scene.use(this);
  }

  /** Waits until the newest state passes the check. */
  async comesTo(check: (state: T | undefined) => void): Promise<void> {
    await this.#scene.eventually(this.#process.backend, () => {
      expect(this.failure).toBeUndefined();
      expect(this.seen, "something was seen").not.toHaveLength(0);
      check(this.seen.at(-1));
    });
  }

  /** Ends the reading, with a reason that the stream is to fail with. */
  async stop(reason: unknown): Promise<void> {
    this.#stop.abort(reason);
    await this.#reading;
  }

  async #read(states: AsyncIterable<T>): Promise<void> {
    try {
      for await (const state of states) this.seen.push(state);
    } catch (error) {
      this.failure = { error };
    }
    this.ended = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop(new Error("the test is over"));
  }
}
