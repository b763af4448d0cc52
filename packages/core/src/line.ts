import type { Context, WaitOptions } from "./context.ts";
import { CoordinationError } from "./errors.ts";
import type { Held } from "./hold.ts";
import type { Backend } from "./ports/backend.ts";
import type { CallOptions, Entry, Revision } from "./ports/kv.ts";
import type { Session } from "./session.ts";
import { patiently, settle } from "./settle.ts";
import { abortable, linkSignals } from "./signals.ts";
import { waitUntil } from "./wait.ts";

/**
 * The line of those who want what only one can have: keys under a prefix, each on its owner's lease, in the order they
 * were created. The oldest has it. This is the layout of Go's `concurrency` package for etcd, and the waiting is that of
 * Hunt, Konar, Junqueira and Reed, "ZooKeeper: Wait-free coordination for Internet-scale systems" (USENIX ATC 2010,
 * section 2.4, "Simple Locks without Herd Effect"): each watches only its predecessor, so a release wakes one waiter.
 */
export class Line {
  readonly prefix: string;
  readonly #context: Context;

  constructor(context: Context, prefix: string) {
    this.#context = context;
    this.prefix = prefix;
  }

  get #backend(): Backend {
    return this.#context.backend;
  }

  /**
   * Waits in line until it is our turn:
   *
   *   1. name our key before it is created, so that it is known whatever happens to the answer;
   *   2. create it, and in the same commit find our predecessor: whoever was created last before us;
   *   3. without a predecessor it is our turn;
   *   4. otherwise watch the predecessor and our own key until the predecessor is gone, and in one commit re-read our
   *      own key and find the next predecessor; go to 3.
   *
   * Rejects with `signal.reason`, or why the session ended, and then leaves the line.
   */
  take(value: Uint8Array, options: WaitOptions): Promise<Held> {
    return this.#named(options, async (session, key, signal) => {
      const { created, resent, predecessor } = await this.#join(session, key, value, signal);
      const place = { session, key, created, resent };
      for (let ahead = predecessor; ahead !== undefined; ) ahead = await this.#gone(place, ahead, signal);
      return place;
    });
  }

  /** Takes the place only if the line is empty, in one commit that otherwise writes nothing. */
  takeIfFree(value: Uint8Array, options: WaitOptions): Promise<Held | undefined> {
    return this.#named(options, async (session, key, signal) => {
      let sendings = 0;
      const commit = await settle(this.#backend.clock, signal, () => {
        sendings += 1;
        return this.#backend.kv.commit(
          {
            if: [{ prefix: this.prefix, empty: true }],
            then: [{ put: key, value, lease: session.lease }, { get: key }],
            else: [{ get: key }],
          },
          { signal },
        );
      });
      const resent = sendings > 1;
      // Our own key in a line that is not empty: an earlier sending of this commit was applied.
      const entry = commit.succeeded ? commit.results[1] : commit.results[0];
      if (entry) return { session, key, created: entry.created, resent };
      // An earlier sending may still arrive, and find the line empty.
      if (resent) void session.discard(key);
      return undefined;
    });
  }

  /** Everyone in line, whose turn it is first. */
  async entries(options?: CallOptions): Promise<readonly Entry[]> {
    return (await this.#backend.kv.list(this.prefix, { ...options, order: "oldest" })).entries;
  }

  /** Runs an attempt on a key named for it alone, and leaves no such key behind when it fails. */
  async #named<T>(
    { signal }: WaitOptions,
    attempt: (session: Session, key: string, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const session = await this.#context.sessions.current({ signal });
    const key = this.prefix + session.nextName();
    using linked = linkSignals(signal, session.signal);
    try {
      // A sent write need not settle first when the session ends: whatever becomes of the key goes with its lease.
      return await abortable(attempt(session, key, linked.signal), session.signal);
    } catch (error) {
      if (session.isAlive()) void session.discard(key);
      throw error;
    }
  }

  async #join(
    session: Session,
    key: string,
    value: Uint8Array,
    signal: AbortSignal,
  ): Promise<{ created: Revision; resent: boolean; predecessor: Entry | undefined }> {
    const newest = { list: this.prefix, order: "newest", limit: 2, keysOnly: true } as const;
    let sendings = 0;
    const commit = await settle(this.#backend.clock, signal, () => {
      sendings += 1;
      return this.#backend.kv.commit(
        {
          if: [{ key, exists: false }],
          then: [{ put: key, value, lease: session.lease }, { get: key }, newest],
          else: [{ get: key }, newest],
        },
        { signal },
      );
    });
    // Our key was there already: an earlier sending of this commit was applied.
    const [own, { entries }] = commit.succeeded ? [commit.results[1], commit.results[2]] : commit.results;
    if (own === undefined) throw placeLost(key);
    // Later arrivals may stand before us in the list: then ask for those created before us.
    const ask = () => patiently(this.#backend.clock, signal, () => this.#predecessor(key, own.created, signal));
    const predecessor = entries[0]?.key === key ? entries[1] : await ask();
    return { created: own.created, resent: sendings > 1, predecessor };
  }

  async #predecessor(key: string, created: Revision, signal: AbortSignal): Promise<Entry | undefined> {
    const older = { list: this.prefix, order: "newest", limit: 1, keysOnly: true, createdBefore: created } as const;
    const { results } = await this.#backend.kv.commit({ then: [{ get: key }, older] }, { signal });
    const [own, { entries }] = results as readonly [Entry | undefined, { readonly entries: readonly Entry[] }];
    if (own?.created !== created) throw placeLost(key);
    return entries[0];
  }

  /** Waits until somebody else, or nobody, is the predecessor. */
  async #gone(place: Held, ahead: Entry, signal: AbortSignal): Promise<Entry | undefined> {
    const look = async () => {
      const predecessor = await this.#predecessor(place.key, place.created, signal);
      const same = predecessor?.key === ahead.key && predecessor.created === ahead.created;
      return same ? undefined : { predecessor };
    };
    const recheckMs = place.session.lease.ttlMs;
    const ranges = [{ key: ahead.key }, { key: place.key }];
    return (await waitUntil(this.#backend, ranges, look, { signal, recheckMs })).predecessor;
  }
}

function placeLost(key: string): CoordinationError {
  return new CoordinationError("LEASE_LOST", `the place in line is lost: the key ${key} is gone`);
}
