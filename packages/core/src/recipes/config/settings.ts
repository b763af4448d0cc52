import { Bell } from "../../bell.ts";
import type { Context, WaitOptions } from "../../context.ts";
import { Replica } from "../../replica.ts";
import { abortable, linkSignals } from "../../signals.ts";
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
  readonly #until: { readonly signal: AbortSignal } & Disposable;
  readonly #bell = new Bell();
  readonly #ended = new AbortController();
  #snapshot: ConfigSnapshot<S, D>;
  #disposed = false;

  private constructor(
    context: Context,
    source: {
      readonly replica: Replica;
      readonly lastGood: LastGood<S, D>;
      readonly until: { readonly signal: AbortSignal } & Disposable;
    },
    snapshot: ConfigSnapshot<S, D>,
  ) {
    this.#context = context;
    this.#replica = source.replica;
    this.#lastGood = source.lastGood;
    this.#until = source.until;
    this.#snapshot = snapshot;
  }

  /** For `Config.open`. */
  static async open<S extends ConfigSchemas, D>(
    context: Context,
    prefix: string,
    lastGood: LastGood<S, D>,
    { signal }: WaitOptions,
  ): Promise<Settings<S, D>> {
    const until = linkSignals(signal, context.closed);
    let replica: Replica | undefined;
    try {
      replica = await Replica.open(context.backend, prefix, until.signal);
      const { entries, revision, stale } = replica.view;
      const read = await abortable(lastGood.read(entries), until.signal);
      const settings = new Settings(context, { replica, lastGood, until }, { ...read, revision, stale });
      void settings.#follow();
      return settings;
    } catch (error) {
      until[Symbol.dispose]();
      await replica?.[Symbol.asyncDispose]();
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
        // A schema that never answers must not keep it from ending.
        const read = await abortable(this.#lastGood.read(entries), this.#until.signal);
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
    this.#until[Symbol.dispose]();
    this.#snapshot = { ...this.#snapshot, stale: true };
    this.#ended.abort(reason);
  }
}
