import type { Mutant } from "./mutant.ts";

const file = "packages/core/src/receipts.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "a commit whose answer was lost is sent again whether it was applied or not, and counts twice",
    file,
    find: "if: [unchanged, ...(txn.if ?? [])],",
    replace: "if: txn.if,",
    killedBy: "a counter counts once",
  },
  {
    breaks: "a commit that was applied unheard is reported as one that was not",
    file,
    find: "entry.modified !== modified && entry.value.length > 0",
    replace: "false",
    killedBy: "a counter adds exactly once",
  },
  {
    breaks: "a commit is told not to have been applied while its first sending may still arrive",
    file,
    find: "if (unknown && seen[0]?.modified === modified) {",
    replace: "if (false) {",
    killedBy: "an atomic value is not set by a first sending",
  },
  {
    breaks: "a receipt that was voided counts as applied",
    file,
    find: " && entry.value.length > 0",
    replace: "",
    killedBy: "a counter adds exactly once",
  },
  {
    breaks: "an unknown outcome is taken for a failure",
    file,
    find: "throw outcomeUnknown(error.message, error);",
    replace: "throw error;",
    killedBy: "a counter says that it does not know",
  },
  {
    breaks: "the receipt of a commit that was given up is used again while that may still arrive",
    file,
    find: "if (unknown) void this.#void(session, receipt);\n      else this",
    replace: "this",
    killedBy: "a counter does not take what was given up",
  },
];
