import { Bell } from "./bell.ts";
import { CoordinationError } from "./errors.ts";
import type { Backend } from "./ports/backend.ts";
import type { Entry, Revision } from "./ports/kv.ts";
import type { Watch, WatchBatch } from "./ports/watches.ts";
import { patiently } from "./settle.ts";
import { linkSignals, onAbort, sleep } from "./signals.ts";

/** A prefix as it was at one revision. */
export interface View {
  readonly entries: ReadonlyMap<string, Entry>;
  readonly revision: Revision;
  /** The store does not answer, or the view has ended: this is the last that was known. */
  readonly stale: boolean;
}

/** How often a follower asks the store for a sign of life. */
const probeMs = 5_000;
/** How long it waits for one. */
const probeTimeoutMs = 2_000;
/** Every how many probes it reads everything, should the store have dropped an event. */
const probesPerAudit = 12;

/**
 * A live view of a prefix:
 *
 *   1. watch the prefix, so that nothing that happens from now on is missed;
 *   2. list it, and skip what the watch tells of before that cut;
 *   3. apply what the watch tells;
 *   4. after a gap, go to 2.
 *
 * While the store does not answer, the last known state stays, marked stale. Iterating yields the state and then each
 * newer one; a slow reader skips states, never the newest.
 */
export class Follower implements AsyncIterable<View>, AsyncDisposable {
  readonly #backend: Backend;
  readonly #prefix: string;
  readonly #bell = new Bell();
  readonly #ended = new AbortController();
  readonly #unlink: Disposable;
  #entries = new Map<string, Entry>();
  #revision: Revision = 0n;
  #stale = false;
  #view: View | undefined;

  private constructor(backend: Backend, prefix: string, signal: AbortSignal | undefined) {
    this.#backend = backend;
    this.#prefix = prefix;
    this.#unlink = onAbort(signal, () => this.#end(signal?.reason));
  }

  /** Resolves with a view that is current. `signal` ends it, whenever it aborts: its readers reject with the reason. */
  static async open(backend: Backend, prefix: string, signal?: AbortSignal): Promise<Follower> {
    signal?.throwIfAborted();
    const follower = new Follower(backend, prefix, signal);
    try {
      const watch = await backend.watches.watch({ prefix }, { signal: follower.#ended.signal });
      await follower.#list();
      void follower.#apply(watch);
      void follower.#probe();
      return follower;
    } catch (error) {
      follower.#end(error);
      throw error;
    }
  }

  /** The newest state known; stale once the view has ended. */
  get view(): View {
    const stale = this.#stale || this.#ended.signal.aborted;
    this.#view ??= { entries: new Map(this.#entries), revision: this.#revision, stale };
    return this.#view;
  }

  [Symbol.asyncIterator](): AsyncGenerator<View, void, undefined> {
    return this.views();
  }

  /** The state and then each newer one, until the view is disposed or `until` aborts. */
  async *views(until?: AbortSignal): AsyncGenerator<View, void, undefined> {
    using linked = linkSignals(this.#ended.signal, until);
    const { signal } = linked;
    for (;;) {
      const heard = this.#bell.rings;
      if (this.#disposed || until?.aborted) return;
      signal.throwIfAborted();
      yield this.view;
      await this.#bell.after(heard, { clock: this.#backend.clock, signal }).catch(() => {});
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end(disposed);
  }

  get #disposed(): boolean {
    return this.#ended.signal.reason === disposed;
  }

  #end(reason: unknown): void {
    this.#unlink[Symbol.dispose]();
    this.#view = undefined;
    this.#ended.abort(reason);
  }

  async #apply(watch: Watch): Promise<void> {
    try {
      for await (const batch of watch) {
        if ("gap" in batch) await this.#relist();
        else this.#fold(batch);
      }
      this.#end(new CoordinationError("UNAVAILABLE", "the watch of a view ended"));
    } catch (error) {
      this.#end(error);
    } finally {
      void Promise.resolve(watch[Symbol.asyncDispose]()).catch(() => {});
    }
  }

  #fold({ revision, changes }: Exclude<WatchBatch, { gap: true }>): void {
    const news = changes.filter(({ modified }) => modified > this.#revision);
    for (const { key, entry } of news) {
      if (entry) this.#entries.set(key, entry);
      else this.#entries.delete(key);
    }
    if (revision > this.#revision) this.#revision = revision;
    const wasStale = this.#stale;
    this.#stale = false;
    if (news.length > 0 || wasStale) this.#changed();
  }

  #relist(): Promise<void> {
    return patiently(this.#backend.clock, this.#ended.signal, () => this.#list());
  }

  async #list(): Promise<void> {
    const { entries, revision } = await this.#backend.kv.list(this.#prefix, { signal: this.#ended.signal });
    const wasStale = this.#stale;
    this.#stale = false;
    // Meanwhile the watch may have told of more than this cut shows: then the cut is of no use.
    const news = revision >= this.#revision && !this.#shows(entries);
    if (news) this.#entries = new Map(entries.map((entry) => [entry.key, entry]));
    if (revision > this.#revision) this.#revision = revision;
    if (news || wasStale) this.#changed();
  }

  #shows(entries: readonly Entry[]): boolean {
    const known = this.#entries;
    return entries.length === known.size && entries.every(({ key, modified }) => known.get(key)?.modified === modified);
  }

  /** A watch that hears nothing cannot tell a quiet prefix from a store that is away; a read can. */
  async #probe(): Promise<void> {
    const { kv, clock } = this.#backend;
    const { signal } = this.#ended;
    const look = { limit: 1, keysOnly: true, timeoutMs: probeTimeoutMs, signal } as const;
    for (let probes = 1; ; probes++) {
      try {
        await sleep(clock, probeMs * (0.75 + 0.5 * clock.random()), signal);
        if (this.#stale || probes % probesPerAudit === 0) await this.#list();
        else await kv.list(this.#prefix, look);
      } catch {
        if (signal.aborted) return;
        if (!this.#stale) {
          this.#stale = true;
          this.#changed();
        }
      }
    }
  }

  #changed(): void {
    this.#view = undefined;
    this.#bell.ring();
  }
}

const disposed: unique symbol = Symbol("disposed");
