import { checkCount, checkFunction, checkOptions, outOfRange } from "../arguments.ts";
import { decode, encode } from "../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../context.ts";
import { CoordinationError } from "../errors.ts";
import { decodeJson, encodeJson } from "../json.ts";
import { lookFrom, type Place } from "../place.ts";
import type { CallOptions, Condition, Entry, Listing, Operation, Revision } from "../ports/kv.ts";
import type { WatchRange } from "../ports/watches.ts";
import type { Session } from "../session.ts";
import { patiently, persistently, settle } from "../settle.ts";
import { abortable, linkSignals } from "../signals.ts";
import { tokenOf } from "../token.ts";
import { waitUntil } from "../wait.ts";
import { Passage } from "./passage.ts";
import {
  agree,
  decodeRound,
  encodeRound,
  endingOf,
  neighbourOf,
  nextRound,
  type Round,
  type Seen,
  standingOf,
  type Terms,
  waitingOf,
  withoutWaiting,
} from "./round.ts";

/** What all who use a double barrier must agree on. */
export interface DoubleBarrierOptions {
  /** How many enter together; a whole number, 1 or more. */
  readonly count: number;
  /**
   * What a member does to the others that dies: one that waits, or is inside. With "break", the default, they fail with
   * `BROKEN`. With "shrink" nothing: the place of one that waited is free again, and one that was inside has left.
   */
  readonly onDeath?: "break" | "shrink" | undefined;
}

/** Who follows what becomes of a double barrier: as one in line, until it left. */
interface Follows {
  readonly created: Revision;
  /** Its key must be there. */
  readonly place?: Place | undefined;
  readonly recheckMs: number;
}

/**
 * Processes enter together, and leave together, time after time:
 *
 *   1. to enter, stand in line, with a key on the session's lease; in the same commit see the line and the round, a key
 *      that says which generation was formed last, and of whom;
 *   2. when the last generation is over and `count` are in line, whoever sees it forms the next one of the oldest of them,
 *      by replacing the round, if it is unchanged; who came too late for it stays in line for the one after;
 *   3. enter resolves when the round says that our generation is formed. A member that sleeps then cannot miss it: the
 *      generation is not over before it has left;
 *   4. to leave, delete the own key; whoever sees that nobody is inside replaces the round by one that is over, and on
 *      seeing that, all who left go on.
 *
 * Who waits watches the round, and its neighbour in line; the first in line watches all of it. So an arrival or a departure
 * wakes one or two, and a generation that is formed or over wakes everybody once.
 *
 * With `onDeath: "break"` who leaves also puts a key that stays until the generation is over, and who gives up says so in
 * the round. A member that is gone without either has died: the neighbour that misses it replaces the round by a broken one.
 *
 * This is the double barrier of Hunt, Konar, Junqueira and Reed, "ZooKeeper: Wait-free coordination for Internet-scale
 * systems" (USENIX ATC 2010, section 2.4), with generations, as in Java's `CyclicBarrier`, whose breakage it also has.
 */
export class DoubleBarrier {
  readonly #context: Context;
  readonly #prefix: string;
  readonly #terms: Terms;
  /** When this object last saw the round written; a guess that saves a round trip. */
  #guess: Revision | undefined;

  constructor(context: Context, name: Name, options: DoubleBarrierOptions) {
    checkOptions("the double barrier", options, ["count", "onDeath"]);
    const { count, onDeath = "break" } = { ...options };
    checkCount("count of the double barrier", count);
    if (onDeath !== "break" && onDeath !== "shrink")
      throw outOfRange("onDeath of the double barrier", onDeath, '"break" or "shrink"');
    this.#context = context;
    this.#prefix = roomyPrefixOf("doublebarrier", name, context.backend.limits, "line/");
    this.#terms = { count, onDeath };
  }

  /**
   * Waits until `count` members are there, and enters with them. Who comes while others are inside waits for the next
   * generation. An outage while it waits only delays it, if the session outlives that.
   *
   * Rejects with `BROKEN` when one who waited too died, with `signal.reason`, with `LEASE_LOST` when the session ends or
   * somebody deletes the key in line, with `RangeError` when somebody in line counts otherwise, with `UNAVAILABLE` when the
   * store could not be reached to stand in line, and with `CLOSED`, `LIMIT` or `DENIED`. Who gives up frees the place; if
   * the generation was formed meanwhile, it leaves that at once.
   */
  async enter(options: WaitOptions = {}): Promise<Passage> {
    checkOptions("enter", options, ["signal"]);
    const session = await this.#context.sessions.current(options);
    const key = `${this.#prefix}line/${session.nextName()}`;
    using linked = linkSignals(options.signal, session.signal);
    let place: Place | undefined;
    const entering = async () => {
      const [own, seen] = await this.#standInLine(session, key, linked.signal);
      place = own;
      return [own, await this.#admitted(own, seen, linked.signal)] as const;
    };
    try {
      const [own, round] = await abortable(entering(), session.signal);
      return this.#passage(own, round);
    } catch (error) {
      if (session.isAlive()) void (place ? this.#withdraw(place) : session.discard([key]));
      throw error;
    }
  }

  /**
   * Enters, runs `work` inside, and leaves; gives what it gave once all have left. `work` must stop when `passage.signal`
   * aborts. `signal` ends the waits, and not the work. Rejects as `enter` and `leave`, and with what `work` threw, after
   * leaving without a wait.
   */
  async run<T>(work: (passage: Passage) => Promise<T> | T, options: WaitOptions = {}): Promise<T> {
    checkFunction("work of run", work);
    checkOptions("run", options, ["signal"]);
    const passage = await this.enter(options);
    let result: T;
    try {
      result = await work(passage);
    } catch (error) {
      void passage.leave().catch(() => {});
      throw error;
    }
    await passage.leave(options);
    return result;
  }

  /** Step 1. The key is put only while the round is unchanged, so that what is sent twice cannot arrive after we left. */
  async #standInLine(session: Session, key: string, signal: AbortSignal): Promise<[Place, Seen]> {
    const { kv, clock } = this.#context.backend;
    const value = encodeJson("terms", { ...this.#terms });
    const reads = [{ get: key }, ...this.#reads] as const;
    for (;;) {
      const commit = await settle(clock, signal, () =>
        kv.commit(
          {
            if: [{ key, exists: false }, this.#unchanged(this.#guess)],
            then: [{ put: key, value, lease: session.lease }, ...reads],
            else: reads,
          },
          { signal },
        ),
      );
      const [entry, ...results] = commit.succeeded ? commit.results.slice(1) : commit.results;
      const seen = this.#seenIn(results);
      if (entry) return [{ session, keys: [key], created: (entry as Entry).created, resent: false }, seen];
    }
  }

  /** Steps 2 and 3. */
  async #admitted(place: Place, seen: Seen, signal: AbortSignal): Promise<Round> {
    const { created, session } = place;
    const older = seen.line.find((member) => member.created < created && !agree(member.terms, this.#terms));
    if (older) {
      const { count, onDeath } = older.terms;
      const theirs = `${count} and onDeath "${onDeath}", as those in line have it (${older.key})`;
      throw outOfRange("count of the double barrier", this.#terms.count, theirs);
    }
    const follows = { created, place, recheckMs: session.lease.ttlMs };
    return this.#follow(follows, seen, signal, (round) => {
      const standing = standingOf(round, created);
      if (standing === "broken") throw broken("while others waited");
      return standing === "inside" ? round : undefined;
    });
  }

  #passage(place: Place, { generation, last }: Round): Passage {
    const { closed, backend } = this.#context;
    const { session, created } = place;
    const recheckMs = session.lease.ttlMs;
    const ended = (round: Round) => {
      const ending = endingOf(round, generation);
      if (ending === "broken") throw broken("inside");
      return ending;
    };
    return new Passage(place, {
      generation,
      token: tokenOf(last),
      broken:
        this.#terms.onDeath === "break"
          ? async (until) => {
              const seen = await patiently(backend.clock, until, () => this.#look({ created, recheckMs }, until));
              await this.#follow({ created, recheckMs }, seen, until, ended);
            }
          : undefined,
      leave: async () => {
        using linked = linkSignals(session.signal, closed);
        const seen = await patiently(backend.clock, linked.signal, () =>
          this.#depart(place, generation, linked.signal),
        );
        await this.#follow({ created, recheckMs }, seen, closed, ended);
      },
    });
  }

  /** Step 4: what is seen in the commit that removes the own key. Sent again, it finds the key gone, and is as good. */
  async #depart({ keys, created }: Place, generation: number, signal: AbortSignal): Promise<Seen> {
    const [key] = keys as [string];
    const trace = `${this.#prefix}left/${key.slice(`${this.#prefix}line/`.length)}`;
    const writes: Operation[] = [{ delete: key }];
    if (this.#terms.onDeath === "break") writes.push({ put: trace, value: encode(String(generation)) });
    const commit = await this.#context.backend.kv.commit(
      { if: [{ key, created }], then: [...writes, ...this.#reads], else: this.#reads },
      { signal },
    );
    return this.#seenIn(commit.succeeded ? commit.results.slice(writes.length) : commit.results);
  }

  /** Gives up a place in line, for as long as it takes. */
  #withdraw(place: Place): Promise<void> {
    const { backend } = this.#context;
    const { session, created, keys } = place;
    const [key] = keys as [string];
    const { signal } = session;
    return persistently(backend.clock, signal, async () => {
      for (;;) {
        const { round, modified, line } = await this.#look({ created, recheckMs: 0 }, signal);
        if (!line.some((member) => member.key === key)) return;
        const standing = standingOf(round, created);
        if (standing === "inside") return this.#passage(place, round).leave();
        const unchanged = standing === "waits" ? [this.#unchanged(modified)] : [];
        const writes: Operation[] = [{ delete: key }];
        if (standing === "waits") writes.push(this.#put(withoutWaiting(round, created)));
        const { succeeded } = await backend.kv.commit(
          { if: [{ key, created }, ...unchanged], then: writes },
          { signal },
        );
        if (succeeded) return;
      }
    });
  }

  /** Follows the round, and moves it on whenever it is time, until `verdict` finds what it is for, or throws. */
  async #follow<T>(
    follows: Follows,
    first: Seen,
    signal: AbortSignal,
    verdict: (round: Round) => T | undefined,
  ): Promise<T> {
    const { backend } = this.#context;
    const { created, recheckMs, place } = follows;
    let known: ReadonlySet<Revision> = new Set();
    for (let seen = first; ; ) {
      seen = await this.#advance(seen, known, signal);
      const found = verdict(seen.round);
      if (found !== undefined) return found;
      known = new Set(waitingOf(seen).map((member) => member.created));
      const { modified } = seen;
      const neighbour = neighbourOf(seen, created)?.key;
      const ranges: WatchRange[] = [{ key: this.#roundKey }];
      if (neighbour !== undefined) ranges.push({ key: neighbour });
      if (created > seen.round.last && neighbour === undefined) ranges.push({ prefix: `${this.#prefix}line/` });
      else if (place) ranges.push({ key: place.keys[0] as string });
      const look = async () => {
        const now = await this.#look(follows, signal);
        const isNews =
          now.modified !== modified ||
          neighbourOf(now, created)?.key !== neighbour ||
          nextRound(now, this.#terms, known) !== undefined;
        if (!isNews) known = new Set([...known, ...waitingOf(now).map((member) => member.created)]);
        return isNews ? now : undefined;
      };
      seen = await waitUntil(backend, ranges, look, { signal, recheckMs });
    }
  }

  /** Moves the round on for as long as it is time for that; what is seen then. */
  async #advance(first: Seen, known: ReadonlySet<Revision>, signal: AbortSignal): Promise<Seen> {
    const { kv, clock } = this.#context.backend;
    for (let seen = first; ; ) {
      const round = nextRound(seen, this.#terms, known);
      if (!round) return seen;
      // Those who left need not be remembered any more; a commit has room for so many.
      const deletes = seen.left.slice(0, 90).map(({ key }) => ({ delete: key }));
      const txn = {
        if: [this.#unchanged(seen.modified)],
        then: [this.#put(round), ...deletes],
        else: this.#reads,
      };
      // However often it is sent, it is applied to this round alone.
      const commit = await patiently(clock, signal, () => kv.commit(txn, { signal }));
      if (commit.succeeded) {
        const left = seen.left.slice(90);
        this.#guess = commit.revision;
        seen = { ...seen, round, modified: commit.revision, left };
      } else seen = this.#seenIn(commit.results);
    }
  }

  async #look({ place }: Follows, signal: AbortSignal): Promise<Seen> {
    if (place) return this.#seenIn(await lookFrom(this.#context, place, this.#reads, signal));
    const options: CallOptions = { signal };
    return this.#seenIn((await this.#context.backend.kv.commit({ then: this.#reads }, options)).results);
  }

  get #roundKey(): string {
    return `${this.#prefix}round`;
  }

  get #reads() {
    return [
      { get: this.#roundKey },
      { list: `${this.#prefix}line/`, order: "oldest" },
      { list: `${this.#prefix}left/` },
    ] as const;
  }

  #seenIn(results: readonly unknown[]): Seen {
    const [entry, line, left] = results as [Entry | undefined, Listing, Listing];
    this.#guess = entry?.modified;
    return {
      round: decodeRound(entry),
      modified: entry?.modified,
      line: line.entries.map((member) => ({ ...member, terms: decodeJson(member) as unknown as Terms })),
      left: left.entries.map(({ key, value }) => ({ key, generation: Number(decode(value)) })),
    };
  }

  #unchanged(modified: Revision | undefined): Condition {
    const key = this.#roundKey;
    return modified === undefined ? { key, exists: false } : { key, modified };
  }

  #put(round: Round) {
    return { put: this.#roundKey, value: encodeRound(round) };
  }
}

function broken(where: string): CoordinationError {
  return new CoordinationError("BROKEN", `the double barrier is broken: a member died ${where}`);
}
