import fc from "fast-check";
import { expect, test } from "vitest";
import {
  decodeRound,
  encodeRound,
  insideOf,
  type Member,
  nextRound,
  type Round,
  type Seen,
  standingOf,
  type Terms,
  withoutWaiting,
} from "../src/recipes/barriers/round.ts";

/** A store that holds one double barrier, and those who use it: what `rounds.ts` does, without a store. */
class Model {
  round: Round = decodeRound(undefined);
  line: Member[] = [];
  left: { key: string; generation: number }[] = [];
  readonly terms: Terms;
  readonly dead = new Set<bigint>();
  /** What each has seen of those who wait. */
  readonly known = new Map<bigint, Set<bigint>>();
  #revision = 0n;

  constructor(terms: Terms) {
    this.terms = terms;
  }

  get seen(): Seen {
    return { round: this.round, modified: undefined, line: this.line, left: this.left };
  }

  join(): void {
    this.#revision += 1n;
    this.line.push({ key: String(this.#revision), created: this.#revision, terms: this.terms });
    this.known.set(this.#revision, new Set());
  }

  die(member: Member): void {
    this.dead.add(member.created);
    this.#gone(member);
  }

  /** Gives up, or leaves, as its standing asks for. */
  go(member: Member): void {
    const standing = standingOf(this.round, member.created);
    this.#gone(member);
    if (standing === "waits") this.round = withoutWaiting(this.round, member.created);
    if (standing === "inside" && this.terms.onDeath === "break")
      this.left.push({ key: member.key, generation: this.round.generation });
  }

  /** One of those in line looks, and moves the round on if it is time. */
  look(member: Member): void {
    const known = this.known.get(member.created) as Set<bigint>;
    const next = nextRound(this.seen, this.terms, known);
    if (next) this.#check(next);
    if (next) this.left = [];
    this.round = next ?? this.round;
    for (const { created } of this.line) known.add(created);
  }

  #gone(member: Member): void {
    this.line = this.line.filter((one) => one !== member);
  }

  #check(next: Round): void {
    const inside = insideOf(this.seen);
    if (next.generation > this.round.generation) {
      expect(inside, "a generation is formed when nobody is inside").toEqual([]);
      expect(next.generation).toBe(this.round.generation + 1);
      const members = this.line.filter(({ created }) => created > next.after && created <= next.last);
      if (next.phase === "inside") expect(members).toHaveLength(this.terms.count);
    }
    if (next.phase === "over") expect(inside, "it is over when nobody is inside").toEqual([]);
    if (next.phase === "broken") {
      expect(this.terms.onDeath).toBe("break");
      expect(this.dead.size, "only a death breaks it").toBeGreaterThan(0);
    }
    expect(decodeRound({ key: "", value: encodeRound(next), created: 1n, modified: 1n, lease: undefined })).toEqual(
      next,
    );
  }
}

const steps = fc.array(fc.record({ what: fc.constantFrom("join", "go", "look", "look", "die"), who: fc.nat(9) }), {
  maxLength: 80,
  size: "max",
});
const terms = fc.record({
  count: fc.integer({ min: 1, max: 4 }),
  onDeath: fc.constantFrom("break", "shrink") as fc.Arbitrary<Terms["onDeath"]>,
});

test("rounds follow each other one at a time, and complete, whoever comes, goes, dies and looks", () => {
  let formed = 0;
  let broken = 0;
  fc.assert(
    fc.property(terms, steps, (terms, steps) => {
      const model = new Model(terms);
      for (const { what, who } of steps) {
        const member = model.line[who % Math.max(1, model.line.length)];
        if (what === "join") model.join();
        else if (member) model[what](member);
      }
      // Whoever is left looks, and then leaves: nothing may be stuck.
      for (let rest = 0; rest < 100 && model.line.length > 0; rest++) {
        for (const member of [...model.line]) model.look(member);
        for (const member of [...model.line]) if (standingOf(model.round, member.created) !== "waits") model.go(member);
        while (model.line.length > 0 && model.line.length % terms.count !== 0) model.join();
      }
      expect(model.line).toEqual([]);
      formed += model.round.generation;
      broken += model.round.broken.length;
    }),
    { numRuns: 1_000 },
  );
  expect(Math.min(formed, broken)).toBeGreaterThan(100);
});

test("who withdrew is remembered for a while, and broken generations too, and neither for ever", () => {
  let round = decodeRound(undefined);
  for (let created = 1n; created <= 300n; created++) round = withoutWaiting(round, created);
  expect(round.withdrawn).toHaveLength(100);
  expect(round.withdrawn.at(-1)).toBe(300n);
});

test("more who give up than a round remembers have not died", () => {
  const terms: Terms = { count: 300, onDeath: "break" };
  const line = Array.from({ length: 251 }, (_, index): Member => {
    return { key: String(index), created: BigInt(index + 1), terms };
  });
  const known = new Set(line.map(({ created }) => created));
  let round = decodeRound(undefined);
  for (const { created } of line.slice(0, 250)) round = withoutWaiting(round, created);
  const value = encodeRound(round);
  round = decodeRound({ key: "round", value, created: 1n, modified: 1n, lease: undefined });
  const seen: Seen = { round, modified: 1n, line: line.slice(250), left: [] };
  expect(round.withdrawn).toHaveLength(100);
  expect(nextRound(seen, terms, known)).toBeUndefined();
  // One who is remembered, and did not give up, has.
  expect(nextRound(seen, terms, new Set([...known, 252n]))).toMatchObject({ phase: "broken" });
});
