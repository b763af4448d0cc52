import { checkKey, checkOptions, checkText, outOfRange, wrongType } from "./arguments.ts";
import { Bell } from "./bell.ts";
import type { WaitOptions } from "./context.ts";
import { EntryMap } from "./entry-map.ts";
import { CoordinationError } from "./errors.ts";
import type { Backend } from "./ports/backend.ts";
import type { Entry, Revision } from "./ports/kv.ts";
import type { Watch, WatchBatch } from "./ports/watches.ts";
import { patiently } from "./settle.ts";
import { linkSignals, onAbort, sleep } from "./signals.ts";

/** A prefix as it was at one revision; later changes do not touch it. */
export interface View {
  /** In the order of `kv.list`; yours to change, as what that gives. */
  readonly entries: ReadonlyMap<string, Entry>;
  /** At least all that was committed up to this revision is shown. */
  readonly revision: Revision;
  /** The store does not answer, or the view has ended: this is the last that was known. */
  readonly stale: boolean;
}

/** How often a replica asks the store for a sign of life. */
const probeMs = 5_000;
/** How long it waits for one. */
const probeTimeoutMs = 2_000;
/** Every how many probes it reads everything, should the store have dropped an event. */
const probesPerAudit = 12;
/** For how long `reached` lets the watch tell, before it reads everything. */
const tellingMs = 100;

/**
 * A live copy of all that is under a prefix:
 *
 *   1. watch the prefix, so that nothing that happens from now on is missed;
 *   2. list it, and skip what the watch tells of before that cut;
 *   3. apply what the watch tells;
 *   4. after a gap, go to 2.
 *
 * While the store does not answer, which is noticed within about eight seconds, the last known state stays, marked stale.
 * Iterating yields the state and then each newer one; a slow reader skips states, never the newest. It ends when it is
 * disposed, its signal aborts, the conclave closes, or the store refuses it for good.
 */
export class Replica implements AsyncIterable<View>, AsyncDisposable {
  /** What all its keys begin with. */
  readonly prefix: string;
  readonly #backend: Backend;
  readonly #bell = new Bell();
  readonly #ended = new AbortController();
  readonly #unlinks: readonly Disposable[];
  #entries: EntryMap;
  #revision: Revision = 0n;
  #stale = false;
  #disposed = false;
  #view: View | undefined;

  private constructor(backend: Backend, prefix: string, until: readonly (AbortSignal | undefined)[]) {
    this.prefix = prefix;
    this.#backend = backend;
    this.#entries = this.#mapOf([]);
    this.#unlinks = until.map((signal) => onAbort(signal, () => this.#end(signal?.reason)));
  }

  /** Resolves with one that is current. Each signal ends it, whenever it aborts: its readers reject with the reason. */
  static async open(
    backend: Backend,
    prefix: string,
    ...until: readonly (AbortSignal | undefined)[]
  ): Promise<Replica> {
    for (const signal of until) signal?.throwIfAborted();
    const replica = new Replica(backend, prefix, until);
    try {
      const watch = await backend.watches.watch({ prefix }, { signal: replica.#ended.signal });
      await replica.#list();
      void replica.#apply(watch);
      void replica.#probe();
      return replica;
    } catch (error) {
      replica.#end(error);
      throw error;
    }
  }

  /** The entries of a replica as what they are, for recipes: they tell what has changed since they last looked. */
  static entriesOf(replica: Replica): EntryMap {
    return replica.#entries;
  }

  /** The newest state known, the same object until something changes; stale once the replica has ended. No I/O. */
  get view(): View {
    const stale = this.#stale || this.#ended.signal.aborted;
    this.#view ??= { entries: this.#entries, revision: this.#revision, stale };
    return this.#view;
  }

  /** All entries of the newest state: `view.entries`. */
  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  /** At least all that was committed up to this revision is shown; it never goes back. */
  get revision(): Revision {
    return this.#revision;
  }

  /** Whether the store does not answer, or the replica has ended: what it shows is then the last that was known. */
  get stale(): boolean {
    return this.view.stale;
  }

  /**
   * The entry of a key in the newest state, stale or not; undefined when there is none. No I/O. Throws `TypeError` or
   * `RangeError` for a key that is not under the prefix.
   */
  get(key: string): Entry | undefined {
    checkKey("key of get", key, this.#backend.limits);
    this.#checkUnder("key of get", key);
    return this.#entries.get(key);
  }

  /** The entries under a prefix in the newest state, in the order of `kv.list`; all when none is given. Throws as `get`. */
  list(prefix: string = this.prefix): readonly Entry[] {
    checkText("prefix of list", prefix);
    this.#checkUnder("prefix of list", prefix);
    return this.#entries.under(prefix);
  }

  /**
   * Waits until the replica shows all that was committed up to a revision, say that of a commit just made, so that its
   * writer reads it here; gives the first view that does. The watch tells of it in a moment; where it has nothing to tell,
   * since the revision is that of other keys, the prefix is read once more.
   *
   * Rejects with `signal.reason`, and with why the replica ended: `CLOSED` when it was disposed. An outage only delays it.
   * A revision that the store never gave may not come.
   */
  async reached(revision: Revision, options: WaitOptions = {}): Promise<View> {
    if (typeof revision !== "bigint") throw wrongType("revision of reached", revision, "a revision, which is a bigint");
    checkOptions("reached", options, ["signal"]);
    const { clock } = this.#backend;
    using linked = linkSignals(this.#ended.signal, options.signal);
    const { signal } = linked;
    signal.throwIfAborted();
    while (this.#revision < revision) {
      const heard = this.#bell.rings;
      await this.#bell.after(heard, { clock, patienceMs: tellingMs, signal });
      if (this.#revision < revision && this.#bell.rings === heard) await this.#relist(signal);
    }
    return this.view;
  }

  [Symbol.asyncIterator](): AsyncGenerator<View, void, undefined> {
    return this.views();
  }

  /** The state and then each newer one, until the replica is disposed or `until` aborts. Rejects with why it ended. */
  async *views(until?: AbortSignal): AsyncGenerator<View, void, undefined> {
    using linked = linkSignals(this.#ended.signal, until);
    const { signal } = linked;
    let shown: View | undefined;
    for (;;) {
      const heard = this.#bell.rings;
      if (this.#disposed || until?.aborted) return;
      signal.throwIfAborted();
      // The revision alone may have moved: then there is nothing new to see.
      if (shown?.entries !== this.#entries || shown.stale !== this.stale) {
        shown = this.view;
        yield shown;
        continue;
      }
      await this.#bell.after(heard, { clock: this.#backend.clock, signal }).catch(() => {});
    }
  }

  /** Ends it: iterations end, waits reject with `CLOSED`. Twice is fine. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ||= !this.#ended.signal.aborted;
    this.#end(new CoordinationError("CLOSED", "the replica was disposed"));
  }

  #end(reason: unknown): void {
    for (const unlink of this.#unlinks) unlink[Symbol.dispose]();
    this.#view = undefined;
    this.#ended.abort(reason);
  }

  #checkUnder(argument: string, text: string): void {
    if (!text.startsWith(this.prefix))
      throw outOfRange(argument, text, `one that begins with the replica's prefix, ${JSON.stringify(this.prefix)}`);
  }

  async #apply(watch: Watch): Promise<void> {
    try {
      for await (const batch of watch) {
        if ("gap" in batch) await this.#relist(this.#ended.signal);
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
    let entries = this.#entries;
    for (const { key, modified, entry } of changes) {
      // What a list has shown already.
      if (modified <= this.#revision) continue;
      entries = entry ? entries.with(entry) : entries.without(key);
    }
    this.#show(entries, revision);
  }

  #relist(signal: AbortSignal): Promise<void> {
    return patiently(this.#backend.clock, signal, () => this.#list(signal));
  }

  async #list(signal: AbortSignal = this.#ended.signal): Promise<void> {
    const { entries, revision } = await this.#backend.kv.list(this.prefix, { signal });
    // Meanwhile the watch may have told of more than this cut shows: then the cut is of no use.
    const isNewer = revision >= this.#revision && !this.#shows(entries);
    this.#show(isNewer ? this.#mapOf(entries) : this.#entries, revision);
  }

  #mapOf(entries: readonly Entry[]): EntryMap {
    const { clock } = this.#backend;
    return EntryMap.of(entries, () => clock.random());
  }

  #shows(entries: readonly Entry[]): boolean {
    const known = this.#entries;
    return entries.length === known.size && entries.every(({ key, modified }) => known.modified(key) === modified);
  }

  /** The store has answered with these entries, as they were at a revision. */
  #show(entries: EntryMap, revision: Revision): void {
    const isNew = entries !== this.#entries || revision > this.#revision || this.#stale;
    this.#entries = entries;
    if (revision > this.#revision) this.#revision = revision;
    this.#stale = false;
    if (isNew) this.#changed();
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
        else await kv.list(this.prefix, look);
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
