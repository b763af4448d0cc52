import type { Mutant } from "./mutant.ts";

const membership = "packages/core/src/recipes/groups/membership.ts";
const seat = "packages/core/src/recipes/groups/seat.ts";
const keptKey = "packages/core/src/kept-key.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "members stand in the order of their ids",
    file: membership,
    find: "Number(one.created - other.created) || compareKeys(one.key, other.key)",
    replace: "compareKeys(one.key, other.key)",
    killedBy: "a membership shows all processes the same members in the same order",
  },
  {
    breaks: "one sees oneself although the store does not",
    file: membership,
    find: "  return [...entries]\n",
    replace:
      "  const there = [...entries];\n  for (const key of kept.keys()) if (key.startsWith(prefix) && !there.some((entry) => entry.key === key)) there.push({ key, created: 0n, modified: 0n, lease: undefined, value: encodeJson('', 'self') });\n  return there\n",
    killedBy: "a membership does not show oneself when the store does not",
  },
  {
    breaks: "everybody is oneself",
    file: membership,
    find: "self: kept.has(key)",
    replace: "self: kept.size >= 0",
    killedBy: "a membership shows all processes the same members in the same order",
  },
  {
    breaks: "a payload's change moves its member to the end",
    file: membership,
    find: "Number(one.created - other.created)",
    replace: "Number(one.modified - other.modified)",
    killedBy: "a membership keeps a member's place and token when its payload changes",
  },
  {
    breaks: "a member whose session is lost does not join again",
    file: keptKey,
    find: "kept.#kept = context.sessions.keep((session) => kept.#restore(session));",
    replace: "",
    killedBy: "a membership joins again after a lost session",
  },
  {
    breaks: "a seat that is lost says that it is joined",
    file: seat,
    find: `const state = standing ? "joined" : "lost";`,
    replace: `const state = standing ? "joined" : this.#known.token > 0n ? "joined" : "lost";`,
    killedBy: "a membership joins again after a lost session",
  },
  {
    breaks: "a member whose key is deleted by hand stays away",
    file: keptKey,
    find: "void persistently(this.#context.backend.clock, session.signal, () => this.#restore(session));",
    replace: "",
    killedBy: "a membership does not show oneself when the store does not",
  },
];
