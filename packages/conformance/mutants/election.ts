import type { Mutant } from "./mutant.ts";

const file = "packages/core/src/recipes/election.ts";
const hold = "packages/core/src/hold.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "observers take the newest candidate for the leader",
    file,
    find: "entry.created < first.created",
    replace: "entry.created > first.created",
    killedBy: "an election",
  },
  {
    breaks: "observers are never told that nobody leads",
    file,
    find: "yield first && leaderOf(first);",
    replace: "if (first) yield leaderOf(first);",
    killedBy: "an election shows observers nobody",
  },
  {
    breaks: "observers are not told what a leader proclaims later",
    file,
    find: " && first?.modified === seen?.modified",
    replace: "",
    killedBy: "an election shows observers what a leader proclaims",
  },
  {
    breaks: "observers are shown the same leader whenever any candidate comes or goes",
    file,
    find: "if (same) continue;",
    replace: "",
    killedBy: "an election never shows a candidate that is not first in line",
  },
  {
    breaks: "the last in line is named as the leader",
    file,
    find: 'order: "oldest", limit: 1',
    replace: 'order: "newest", limit: 1',
    killedBy: "an election names its leader",
  },
  {
    breaks: "who was deposed can still proclaim",
    file: hold,
    find: "const txn = this.guard({ if: [unchanged], then: [put], else: [{ get: this.key }] });",
    replace: "const txn = { then: [put] } as Txn;",
    killedBy: "an election refuses what is proclaimed by who was deposed",
  },
  {
    breaks: "who learns from a proclamation that it was deposed forgets it",
    file: hold,
    find: "    this.lose(reason);\n    throw reason;",
    replace: "    throw reason;",
    killedBy: "an election refuses what is proclaimed by who was deposed",
  },
  {
    breaks: "what was proclaimed outlives its process",
    file: hold,
    find: "value, lease: this.session.lease }",
    replace: "value }",
    killedBy: "an election shows observers what a leader proclaims",
  },
  {
    breaks: "who resigns goes on leading",
    file,
    find: "return this.release();",
    replace: "return Promise.resolve();",
    killedBy: "an election shows observers nobody",
  },
  {
    breaks: "a run gives what was done after leadership was lost",
    file,
    find: "if (!isLost(leadership)) return result;",
    replace: "return result;",
    killedBy: "a run for leadership campaigns again",
  },
  {
    breaks: "a run ends when leadership was lost",
    file,
    find: "if (!isLost(leadership)) throw error;",
    replace: "throw error;",
    killedBy: "a run for leadership campaigns again with a new session",
  },
  {
    breaks: "what was proclaimed first and arrives last undoes what was said since",
    file: "packages/core/src/hold.ts",
    find: "this.guard({ if: [unchanged], then:",
    replace: "this.guard({ if: [], then:",
    killedBy: "an election takes nothing back",
  },
  {
    breaks: "a run swallows what lead threw",
    file,
    find: "if (!isLost(leadership)) throw error;",
    replace: "if (!isLost(leadership)) return undefined as T;",
    killedBy: "a run for leadership gives what lead threw",
  },
  {
    breaks: "a run ends when the session is lost while another leads",
    file,
    find: "if (!isForNow(error)) throw error;",
    replace: "throw error;",
    killedBy: "a run for leadership stands again with a new session",
  },
  {
    breaks: "a run that ended goes on leading",
    file,
    find: "await leadership.resign();",
    replace: "",
    killedBy: "a run for leadership",
  },
  {
    breaks: "a run that is cancelled does not tell lead",
    file,
    find: "return await this.#campaign(options, options.signal);",
    replace: "return await this.#campaign(options);",
    killedBy: "a run for leadership aborts lead",
  },
];
