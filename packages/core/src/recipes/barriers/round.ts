import { CoordinationError } from "../../errors.ts";
import { decodeJson, encodeJson } from "../../json.ts";
import type { Entry, Revision } from "../../ports/kv.ts";

/** What all who use a double barrier must agree on. */
export interface Terms {
  /** How many enter together. */
  readonly count: number;
  /** Whether a member's death breaks its generation, or leaves it smaller. */
  readonly onDeath: "break" | "shrink";
}

/** One who is in line, or inside. */
export interface Member {
  readonly key: string;
  readonly created: Revision;
  readonly terms: Terms;
}

/**
 * The state of a double barrier: the last generation that was formed. Its members are those in line who were created after
 * `after`, up to `last`; who came later waits for the next one.
 */
export interface Round {
  /** Counted from 1; 0 before the first was formed. */
  readonly generation: number;
  readonly after: Revision;
  readonly last: Revision;
  /** Whether its members are inside; or have all left; or it was broken, and they may not have noticed. */
  readonly phase: "inside" | "over" | "broken";
  /** How many members it was formed of. */
  readonly size: number;
  /** Generations that were broken, for members who learn of it late. */
  readonly broken: readonly number[];
  /** When those were created who gave up while they waited: they did not die. */
  readonly withdrawn: readonly Revision[];
  /** Of those created up to here it is not known any more whether they gave up. */
  readonly forgotten: Revision;
}

/** All there is to see of a double barrier, in one consistent cut. */
export interface Seen {
  readonly round: Round;
  /** When the round was written; undefined before the first time. */
  readonly modified: Revision | undefined;
  /** The oldest first. */
  readonly line: readonly Member[];
  /** The keys that members put who left, and in which generation. */
  readonly left: readonly { readonly key: string; readonly generation: number }[];
}

/** How many broken generations, and how many who withdrew, are remembered for who sleeps long. */
const remembered = 100;

const none: Round = {
  generation: 0,
  after: 0n,
  last: 0n,
  phase: "over",
  size: 0,
  broken: [],
  withdrawn: [],
  forgotten: 0n,
};

/** The members of the last generation who have not left. */
export function insideOf({ round, line }: Seen): readonly Member[] {
  return line.filter(({ created }) => created > round.after && created <= round.last);
}

/** Those who wait for the next generation. */
export function waitingOf({ round, line }: Seen): readonly Member[] {
  return line.filter(({ created }) => created > round.last);
}

/**
 * The next state, if it is time for it:
 *
 *   1. while members are inside: broken when one of them is neither in line nor has left, if death breaks; over when the
 *      last of them has gone;
 *   2. after a broken generation nothing, until its members have gone;
 *   3. broken, with all who wait, when one of those who were `known` to wait died, if death breaks;
 *   4. the next generation, of the oldest who wait, when they are enough.
 */
export function nextRound(seen: Seen, terms: Terms, known: ReadonlySet<Revision>): Round | undefined {
  const { round, left } = seen;
  const { count, onDeath } = terms;
  const inside = insideOf(seen);
  const waiting = waitingOf(seen).filter((member) => agree(member.terms, terms));
  if (round.phase === "inside") {
    const gone = left.filter(({ generation }) => generation === round.generation).length;
    if (onDeath === "break" && inside.length + gone < round.size) return brokenRound(round);
    return inside.length === 0 ? { ...round, phase: "over" } : undefined;
  }
  if (inside.length > 0) return undefined;
  const [newest] = waiting.slice(-1);
  if (onDeath === "break" && newest && hasDied(known, seen)) return brokenRound(following(round, newest, 0));
  const completing = waiting[count - 1];
  return completing && following(round, completing, count);
}

export function agree(one: Terms, other: Terms): boolean {
  return one.count === other.count && one.onDeath === other.onDeath;
}

/** Whether one of those who were known to wait is gone, and surely did not give up. */
function hasDied(known: ReadonlySet<Revision>, { round, line }: Seen): boolean {
  const there = new Set([...line.map(({ created }) => created), ...round.withdrawn]);
  return [...known].some((created) => created > round.last && created > round.forgotten && !there.has(created));
}

function following(round: Round, { created: last }: Member, size: number): Round {
  const withdrawn = round.withdrawn.filter((created) => created > last);
  return { ...round, generation: round.generation + 1, after: round.last, last, phase: "inside", size, withdrawn };
}

function brokenRound(round: Round): Round {
  return { ...round, phase: "broken", broken: [...round.broken, round.generation].slice(-remembered) };
}

/** The round after one who waited gave up. */
export function withoutWaiting(round: Round, created: Revision): Round {
  const all = [...round.withdrawn, created];
  let { forgotten } = round;
  for (const one of all.slice(0, -remembered)) if (one > forgotten) forgotten = one;
  return { ...round, withdrawn: all.slice(-remembered), forgotten };
}

/** What has become of one who entered the line at `created`, and has not left. */
export function standingOf(round: Round, created: Revision): "waits" | "inside" | "broken" {
  if (created > round.last) return "waits";
  return created > round.after && round.phase === "inside" ? "inside" : "broken";
}

/** What has become of a generation; undefined while its members are inside. */
export function endingOf(round: Round, generation: number): "over" | "broken" | undefined {
  if (round.generation === generation && round.phase === "inside") return undefined;
  // A state that is older than the generation: somebody deleted it.
  return round.generation < generation || round.broken.includes(generation) ? "broken" : "over";
}

/** Whom one watches: the nearest older one, or when there is none, among those who are inside, the newest. */
export function neighbourOf(seen: Seen, created: Revision): Member | undefined {
  const waits = created > seen.round.last;
  const others = (waits ? waitingOf(seen) : insideOf(seen)).filter((member) => member.created !== created);
  return others.findLast((member) => member.created < created) ?? (waits ? undefined : others.at(-1));
}

export function encodeRound(round: Round): Uint8Array {
  const { after, last, withdrawn, forgotten } = round;
  return encodeJson("the state of a double barrier", {
    ...round,
    after: String(after),
    last: String(last),
    withdrawn: withdrawn.map(String),
    forgotten: String(forgotten),
  });
}

export function decodeRound(entry: Entry | undefined): Round {
  if (!entry) return none;
  try {
    const { after, last, withdrawn, forgotten, ...rest } = decodeJson(entry) as unknown as Round;
    const revisions = { after: BigInt(after), last: BigInt(last), forgotten: BigInt(forgotten) };
    return { ...rest, ...revisions, withdrawn: withdrawn.map(BigInt) };
  } catch {
    throw new CoordinationError("CORRUPT", `the value of the key ${entry.key} is not the state of a double barrier`);
  }
}
