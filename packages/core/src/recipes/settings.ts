import { Bell } from "../bell.ts";
import type { Context, WaitOptions } from "../context.ts";
import { Replica } from "../replica.ts";
import { abortable } from "../signals.ts";
import type { ConfigSchemas, ConfigSnapshot, LastGood } from "./setting.ts";

/**
 * A live view of a configuration, by `snapshot` and by iteration. An outage makes it stale, bad data leaves the last good
 * value; neither ends it. It ends when it is disposed, its signal aborts, the conclave closes, or the store refuses it for
 * good.
 */
export class Settings<S extends ConfigSchemas, D> implements AsyncIterable<ConfigSnapshot<S, D>>, AsyncDisposable {
  readonly #context: Context;
  readonly #replica: Replica;
  readonly #lastGood: LastGood<S, D>;
  readonly #bell = new Bell();
  readonly #ended = new AbortController();
  #snapshot: ConfigSnapshot<S, D>;
  #disposed = false;

  private constructor(context: Context, replica: Replica, lastGood: LastGood<S, D>, snapshot: ConfigSnapshot<S, D>) {
    this.#context = context;
    this.#replica = replica;
    this.#lastGood = lastGood;
    this.#snapshot = snapshot;
  }

  /** For `Config.open`. */
  static async open<S extends ConfigSchemas, D>(
    context: Context,
    prefix: string,
    lastGood: LastGood<S, D>,
    { signal }: WaitOptions,
  ): Promise<Settings<S, D>> {
    const { backend, closed } = context;
    const replica = await Replica.open(backend, prefix, signal, closed);
    try {
      const { entries, revision, stale } = replica.view;
      const reading = lastGood.read(entries).then((read) => ({ ...read, revision, stale }));
      const snapshot = await abortable(abortable(reading, signal), closed);
      const settings = new Settings(context, replica, lastGood, snapshot);
      void settings.#follow();
      return settings;
    } catch (error) {
      await replica[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The newest snapshot; the same object until something changes. No I/O. */
  get snapshot(): ConfigSnapshot<S, D> {
    return this.#snapshot;
  }

  /**
   * Yields the snapshot and then each newer one; a slow reader skips snapshots, never the newest. Ends when the view is
   * disposed; rejects with `signal.reason` or `CLOSED` when it ended by those, and with why the store refused it otherwise.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<ConfigSnapshot<S, D>, void, undefined> {
    const { clock } = this.#context.backend;
    const { signal } = this.#ended;
    let shown: ConfigSnapshot<S, D> | undefined;
    for (;;) {
      const heard = this.#bell.rings;
      if (this.#disposed) return;
      signal.throwIfAborted();
      if (shown !== this.#snapshot) {
        shown = this.#snapshot;
        yield shown;
        continue;
      }
      await this.#bell.after(heard, { clock, signal }).catch(() => {});
    }
  }

  /** Ends the view: iterations end. Twice is fine. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ||= !this.#ended.signal.aborted;
    this.#end(undefined);
    await this.#replica[Symbol.asyncDispose]();
  }

  async #follow(): Promise<void> {
    try {
      for await (const { entries, revision, stale } of this.#replica) {
        const read = await this.#lastGood.read(entries);
        if (this.#ended.signal.aborted) return;
        if (read.values === this.#snapshot.values && stale === this.#snapshot.stale) continue;
        this.#snapshot = { ...read, revision, stale };
        this.#bell.ring();
      }
    } catch (error) {
      this.#end(error);
    }
  }

  #end(reason: unknown): void {
    if (this.#ended.signal.aborted) return;
    this.#snapshot = { ...this.#snapshot, stale: true };
    this.#ended.abort(reason);
  }
}
