import { checkCount, checkFunction, checkOptions, outOfRange } from "../../arguments.ts";
import { backoffMs } from "../../backoff.ts";
import { encode } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { CoordinationError, isCoordinationError } from "../../errors.ts";
import { encodeJson } from "../../json.ts";
import type { Place } from "../../place.ts";
import type { Entry, Operation, Revision } from "../../ports/kv.ts";
import type { Session } from "../../session.ts";
import { patiently, persistently, settle } from "../../settle.ts";
import { abortable, linkSignals, sleep } from "../../signals.ts";
import { tokenOf } from "../../token.ts";
import { Passage } from "./passage.ts";
import { agree, endingOf, type Round, type Seen, standingOf, type Terms, withoutWaiting } from "./round.ts";
import { Rounds } from "./rounds.ts";

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
  readonly #rounds: Rounds;

  constructor(context: Context, name: Name, options: DoubleBarrierOptions) {
    checkOptions("the double barrier", options, ["count", "onDeath"]);
    const { count, onDeath = "break" } = { ...options };
    checkCount("count of the double barrier", count);
    if (onDeath !== "break" && onDeath !== "shrink")
      throw outOfRange("onDeath of the double barrier", onDeath, '"break" or "shrink"');
    this.#context = context;
    this.#prefix = roomyPrefixOf("doublebarrier", name, context.backend.limits, "line/");
    this.#terms = { count, onDeath };
    this.#rounds = new Rounds(context, this.#prefix, this.#terms);
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
    let unsure = false;
    const isUnsure = () => {
      unsure = true;
    };
    const entering = async () => {
      const [own, seen] = await this.#standInLine(session, key, linked.signal, isUnsure);
      place = own;
      return [own, await this.#admitted(own, seen, linked.signal)] as const;
    };
    try {
      const [own, round] = await abortable(entering(), session.signal);
      return this.#passage(own, round);
    } catch (error) {
      if (!session.isAlive()) throw error;
      if (place) void this.#withdraw(session, key, place);
      else {
        const withdrawn = unsure ? this.#withdraw(session, key, undefined) : Promise.resolve();
        // Whatever came of that, such as a round that nobody can read, no key is left.
        void withdrawn.then(() => (session.isAlive() ? session.discard([key]) : undefined));
      }
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
  async #standInLine(session: Session, key: string, signal: AbortSignal, isUnsure: () => void): Promise<[Place, Seen]> {
    const { kv, clock } = this.#context.backend;
    const value = encodeJson("terms", { ...this.#terms });
    const reads = [{ get: key }, ...this.#rounds.reads] as const;
    for (;;) {
      const txn = {
        if: [{ key, exists: false }, this.#rounds.asLastSeen],
        then: [{ put: key, value, lease: session.lease }, ...reads],
        else: reads,
      };
      const commit = await settle(clock, signal, () =>
        kv.commit(txn, { signal }).catch((error: unknown) => {
          if (isCoordinationError(error, "OUTCOME_UNKNOWN")) isUnsure();
          throw error;
        }),
      );
      const [entry, ...results] = commit.succeeded ? commit.results.slice(1) : commit.results;
      const seen = this.#rounds.seenIn(results);
      if (entry) return [{ session, keys: [key], created: (entry as Entry).created, resent: false }, seen];
    }
  }

  /** Steps 2 and 3. */
  async #admitted(place: Place, seen: Seen, signal: AbortSignal): Promise<Round> {
    const { created, session } = place;
    const older = seen.line.find((member) => member.created < created && !agree(member.terms, this.#terms));
    if (older) {
      const [theirs, ours] = [older.terms, this.#terms].map(({ count, onDeath }) => `${count} and "${onDeath}"`);
      const what = "count and onDeath of the double barrier";
      throw new RangeError(`${what} must be ${theirs}, as for those in line (${older.key}), not ${ours}`);
    }
    const follows = { created, place, recheckMs: session.lease.ttlMs, signal };
    return this.#rounds.follow(follows, seen, (round) => {
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
              const seen = await patiently(backend.clock, until, () => this.#rounds.look(until));
              await this.#rounds.follow({ created, recheckMs, signal: until }, seen, ended);
            }
          : undefined,
      leave: async () => {
        using linked = linkSignals(session.signal, closed);
        const seen = await patiently(backend.clock, linked.signal, () =>
          this.#depart(place, generation, linked.signal),
        );
        await this.#rounds.follow({ created, recheckMs, signal: closed }, seen, ended).catch(async (error: unknown) => {
          // Nobody needs the trace of one who left a broken generation, and it may have come too late to be removed.
          if (isCoordinationError(error, "BROKEN"))
            await backend.kv.commit({ then: [{ delete: this.#traceOf(place) }] }).catch(() => {});
          throw error;
        });
      },
    });
  }

  /** Step 4: what is seen in the commit that removes the own key. Sent again, it finds the key gone, and is as good. */
  async #depart(place: Place, generation: number, signal: AbortSignal): Promise<Seen> {
    const { created, keys } = place;
    const [key] = keys as [string];
    const trace = this.#traceOf(place);
    const writes: Operation[] = [{ delete: key }];
    if (this.#terms.onDeath === "break") writes.push({ put: trace, value: encode(String(generation)) });
    const commit = await this.#context.backend.kv.commit(
      { if: [{ key, created }], then: [...writes, ...this.#rounds.reads], else: this.#rounds.reads },
      { signal },
    );
    return this.#rounds.seenIn(commit.succeeded ? commit.results.slice(writes.length) : commit.results);
  }

  /** The key that says that who had this place left, and did not die. */
  #traceOf({ keys: [key = ""] }: Place): string {
    return `${this.#prefix}left/${key.slice(`${this.#prefix}line/`.length)}`;
  }

  /**
   * Gives up a place in line, for as long as it takes. Where it is not known whether it was taken, and it is not there, the
   * round is written anew: what was sent to take it finds it changed, should it still arrive.
   */
  #withdraw(session: Session, key: string, place: Place | undefined): Promise<void> {
    const { kv, clock } = this.#context.backend;
    const { signal } = session;
    return persistently(clock, signal, async () => {
      for (let conflicts = 1; ; conflicts++) {
        const { round, modified, line } = await this.#rounds.look(signal);
        const created = line.find((member) => member.key === key)?.created;
        if (created === undefined && place) return;
        const standing = created === undefined ? undefined : standingOf(round, created);
        if (created !== undefined && standing === "inside")
          return this.#passage({ session, keys: [key], created, resent: false }, round).leave();
        const own = created === undefined ? { key, exists: false } : { key, created };
        const unchanged = standing === "broken" ? [] : [this.#rounds.unchanged(modified)];
        const writes: Operation[] = created === undefined ? [] : [{ delete: key }];
        if (standing === undefined) writes.push(this.#rounds.put(round));
        else if (standing === "waits") writes.push(this.#rounds.put(withoutWaiting(round, created as Revision)));
        const { succeeded } = await kv.commit({ if: [own, ...unchanged], then: writes }, { signal });
        if (succeeded) return;
        // Of many who give up at once, one at a time can say so.
        await sleep(clock, backoffMs(clock, conflicts), signal);
      }
    });
  }
}

function broken(where: string): CoordinationError {
  return new CoordinationError("BROKEN", `the double barrier is broken: a member died ${where}`);
}
