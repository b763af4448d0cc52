import type { Mutant } from "./mutant.ts";

const doubleBarrier = "packages/core/src/recipes/barriers/double-barrier.ts";
const round = "packages/core/src/recipes/barriers/round.ts";
const rounds = "packages/core/src/recipes/barriers/rounds.ts";
const passage = "packages/core/src/recipes/barriers/passage.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "whoever finds enough keys forms a generation, though the last one is still inside",
    file: round,
    find: "  if (inside.length > 0) return undefined;\n",
    replace: "",
    killedBy: "a double barrier breaks for those inside when one of them dies",
  },
  {
    breaks: "one is taken for enough too early, as where `ready` counts as a member",
    file: round,
    find: "waiting[count - 1]",
    replace: "waiting[Math.max(0, count - 2)]",
    killedBy: "a double barrier lets nobody in before all have come",
  },
  {
    breaks: "who leaves does not wait for the others",
    file: round,
    find: 'if (round.generation === generation && round.phase === "inside") return undefined;',
    replace: 'if (round.generation === generation && round.phase === "inside") return "over";',
    killedBy: "a double barrier lets nobody be done with leaving before all have left",
  },
  {
    breaks: "a death inside passes for having left",
    file: round,
    find: 'if (onDeath === "break" && inside.length + gone < round.size) return brokenRound(round);',
    replace: "",
    killedBy: "a double barrier breaks for those inside",
  },
  {
    breaks: "a death of one who waits goes unnoticed",
    file: round,
    find: "newest && hasDied(known, seen)",
    replace: "newest && known.size < 0",
    killedBy: "a double barrier breaks for those who wait",
  },
  {
    breaks: "who gives up counts as dead",
    file: round,
    find: "...line.map(({ created }) => created), ...round.withdrawn]",
    replace: "...line.map(({ created }) => created)]",
    killedBy: "a double barrier frees the place of who gives up",
  },
  {
    breaks: "the round is replaced though it has changed",
    file: rounds,
    find: "{ if: [this.unchanged(seen.modified)], then",
    replace: "{ if: [], then",
    killedBy: "a double barrier is not moved back",
  },
  {
    breaks: "traces of those who left stay for ever",
    file: rounds,
    find: "const then = [this.put(round), ...traces.splice(0, tracesPerCommit)];",
    replace: "const then = [this.put(round)]; traces.length = 0;",
    killedBy: "a double barrier lets nobody be done with leaving before all have left",
  },
  {
    breaks: "who dies after it has left breaks the others",
    file: doubleBarrier,
    find: 'if (this.#terms.onDeath === "break") writes.push(',
    replace: 'if (this.#terms.onDeath !== "break") writes.push(',
    killedBy: "a double barrier",
  },
  {
    breaks: "a place that is given up stays in line",
    file: doubleBarrier,
    find: "if (place) void this.#withdraw(session, key, place);",
    replace: "if (place) void 0;",
    killedBy: "a double barrier frees the place of who gives up",
  },
  {
    breaks: "the first in line does not watch the others, so that the newest may die unnoticed",
    file: rounds,
    find: "return [round, { prefix:",
    replace: "return [round, { key:",
    killedBy: "a double barrier breaks for those who wait",
  },
  {
    breaks: "everybody who waits watches the whole line",
    file: rounds,
    find: "if (!neighbour && created > seen.round.last)",
    replace: "if (created > seen.round.last)",
    killedBy: "a double barrier wakes one of many who wait",
  },
  {
    breaks: "a stay is still held after leaving",
    file: passage,
    find: "return !this.#leaving && ",
    replace: "return ",
    killedBy: "a double barrier lets nobody be done with leaving",
  },
  {
    breaks: "who is inside is not told that the barrier is broken",
    file: passage,
    find: "doorkeeper.broken?.(this.#left.signal).catch((reason: unknown) => this.#lose(reason));",
    replace: "",
    killedBy: "a double barrier breaks for those inside",
  },
];
