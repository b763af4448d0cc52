import { decode } from "../../bytes.ts";
import type { Context } from "../../context.ts";
import { decodeJson } from "../../json.ts";
import { lookFrom, type Place } from "../../place.ts";
import type { Condition, Entry, Get, List, Listing, Put, Revision } from "../../ports/kv.ts";
import type { WatchRange } from "../../ports/watches.ts";
import { patiently } from "../../settle.ts";
import { waitUntil } from "../../wait.ts";
import {
  decodeRound,
  encodeRound,
  neighbourOf,
  nextRound,
  type Round,
  type Seen,
  type Terms,
  waitingOf,
} from "./round.ts";

/** Who follows what becomes of a double barrier. */
export interface Follower {
  /** When it entered the line; also once it has left. */
  readonly created: Revision;
  /** Its place in line, if that must be there. */
  readonly place?: Place | undefined;
  readonly recheckMs: number;
  readonly signal: AbortSignal;
}

/** How many traces of those who left one commit removes. */
const tracesPerCommit = 90;

/**
 * The round of a double barrier, as it is kept in the store and moved on by whoever sees that it is time:
 *
 *   1. look: the round, the line, and the traces of those who left, in one consistent cut;
 *   2. if it is time for another round (`round.ts`), replace this one, if it is unchanged; whoever is first does it;
 *   3. watch the round and one neighbour until there is news; go to 1.
 */
export class Rounds {
  readonly #context: Context;
  readonly #prefix: string;
  readonly #terms: Terms;
  /** When the round was written that was seen last. */
  #modified: Revision | undefined;

  constructor(context: Context, prefix: string, terms: Terms) {
    this.#context = context;
    this.#prefix = prefix;
    this.#terms = terms;
  }

  /** What to read to see everything, by `seenIn`. */
  get reads(): readonly [Get, List, List] {
    return [{ get: this.#key }, { list: `${this.#prefix}line/`, order: "oldest" }, { list: `${this.#prefix}left/` }];
  }

  seenIn(results: readonly unknown[]): Seen {
    const [entry, line, left] = results as [Entry | undefined, Listing, Listing];
    this.#modified = entry?.modified;
    return {
      round: decodeRound(entry),
      modified: entry?.modified,
      line: line.entries.map((member) => ({ ...member, terms: decodeJson(member) as unknown as Terms })),
      left: left.entries.map(({ key, value }) => ({ key, generation: Number(decode(value)) })),
    };
  }

  async look(signal: AbortSignal): Promise<Seen> {
    return this.seenIn((await this.#context.backend.kv.commit({ then: this.reads }, { signal })).results);
  }

  unchanged(modified: Revision | undefined): Condition {
    const key = this.#key;
    return modified === undefined ? { key, exists: false } : { key, modified };
  }

  /** That the round is the one seen last: a guess that saves a round trip. */
  get asLastSeen(): Condition {
    return this.unchanged(this.#modified);
  }

  put(round: Round): Put {
    return { put: this.#key, value: encodeRound(round) };
  }

  /** Follows the round, and moves it on whenever it is time, until `verdict` finds what it is for, or throws. */
  async follow<T>(follower: Follower, first: Seen, verdict: (round: Round) => T | undefined): Promise<T> {
    const { created, signal, recheckMs } = follower;
    // Whoever was once seen to wait, and is gone without a word, has died.
    let known: ReadonlySet<Revision> = new Set();
    for (let seen = first; ; ) {
      seen = await this.#advance(seen, known, signal);
      const found = verdict(seen.round);
      if (found !== undefined) return found;
      known = new Set(waitingOf(seen).map((member) => member.created));
      const { modified } = seen;
      const neighbour = neighbourOf(seen, created)?.key;
      const look = async () => {
        const now = await this.#lookFrom(follower);
        const isNews =
          now.modified !== modified ||
          neighbourOf(now, created)?.key !== neighbour ||
          nextRound(now, this.#terms, known) !== undefined;
        if (isNews) return now;
        known = new Set([...known, ...waitingOf(now).map((member) => member.created)]);
        return undefined;
      };
      seen = await waitUntil(this.#context.backend, this.#rangesOf(follower, seen), look, { signal, recheckMs });
    }
  }

  /** The round and the neighbour; for the first who waits, instead of a neighbour, the line. */
  #rangesOf({ created, place }: Follower, seen: Seen): readonly WatchRange[] {
    const neighbour = neighbourOf(seen, created);
    const round = { key: this.#key };
    if (!neighbour && created > seen.round.last) return [round, { prefix: `${this.#prefix}line/` }];
    const keys = [...(neighbour ? [neighbour.key] : []), ...(place?.keys ?? [])];
    return [round, ...keys.map((key) => ({ key }))];
  }

  /** Moves the round on for as long as it is time for that; what is seen then. */
  async #advance(first: Seen, known: ReadonlySet<Revision>, signal: AbortSignal): Promise<Seen> {
    const { kv, clock } = this.#context.backend;
    for (let seen = first; ; ) {
      const round = nextRound(seen, this.#terms, known);
      if (!round) return seen;
      // Who left need not be remembered when the round is over.
      const traces = seen.left.map(({ key }) => ({ delete: key }));
      const then = [this.put(round), ...traces.splice(0, tracesPerCommit)];
      const txn = { if: [this.unchanged(seen.modified)], then, else: this.reads };
      // However often it is sent, it is applied to this round alone.
      const commit = await patiently(clock, signal, () => kv.commit(txn, { signal }));
      if (commit.succeeded) {
        while (traces.length > 0) {
          const rest = { then: traces.splice(0, tracesPerCommit) };
          await patiently(clock, signal, () => kv.commit(rest, { signal }));
        }
        this.#modified = commit.revision;
        seen = { ...seen, round, modified: commit.revision, left: [] };
      } else seen = this.seenIn(commit.results);
    }
  }

  async #lookFrom({ place, signal }: Follower): Promise<Seen> {
    return place ? this.seenIn(await lookFrom(this.#context, place, this.reads, signal)) : this.look(signal);
  }

  get #key(): string {
    return `${this.#prefix}round`;
  }
}
