import type { Mutant } from "./mutant.ts";

const [file, snapshot] = [
  "packages/core/src/recipes/values/transaction.ts",
  "packages/core/src/recipes/values/snapshot.ts",
];

export const mutants: readonly Mutant[] = [
  {
    breaks: "what was added to a prefix that was listed goes unnoticed (phantoms)",
    file: snapshot,
    find: "...[...listed].map(([prefix, revision]) => ({ prefix, noneModifiedAfter: revision })),",
    replace: "",
    killedBy: "a transaction is done anew when what it listed",
  },
  {
    breaks: "what was deleted from a prefix that was listed goes unnoticed",
    file: snapshot,
    find: "...[...entries].map(",
    replace: "...[...entries].filter(([key]) => ![...listed.keys()].some((prefix) => key.startsWith(prefix))).map(",
    killedBy: "a transaction is done anew when what it listed",
  },
  {
    breaks: "a key that was absent may be created meanwhile",
    file: snapshot,
    find: "(entry ? { key, modified: entry.modified } : { key, exists: false })",
    replace: "(entry ? { key, modified: entry.modified } : { prefix: key, noneModifiedAfter: 2n ** 62n })",
    killedBy: "a transaction is done anew when what it read",
  },
  {
    breaks: "a key that was deleted and created anew passes for the same",
    file: snapshot,
    find: "(entry ? { key, modified: entry.modified } : { key, exists: false })",
    replace: "({ key, exists: entry !== undefined })",
    killedBy: "a transaction is done anew when what it read",
  },
  {
    breaks: "a later read may be of a later moment than those before (an attempt sees what never was)",
    file: snapshot,
    find: "this.#kv.commit({ if: this.conditions, then: reads }, this.#options)",
    replace: "this.#kv.commit({ if: [], then: reads }, this.#options)",
    killedBy: "a transaction never shows a function what never was",
  },
  {
    breaks: "what was read is not compared when writes are committed (write skew)",
    file,
    find: "receipts.commit({ if: conditions, then }, { signal })",
    replace: "receipts.commit({ if: conditions.slice(1), then }, { signal })",
    killedBy: "a transaction never is skewed",
  },
  {
    breaks: "a transaction is run again while its commit may have been applied",
    file,
    find: "const { applied } = await receipts.commit({ if: conditions, then }, { signal });",
    replace:
      "const { applied } = await receipts.commit({ if: conditions, then }, { signal }).catch(() => ({ applied: false }));",
    killedBy: "a transaction is never tried again",
  },
  {
    breaks: "an attempt that saw a change commits if its function does not mind",
    file,
    find: "if (this.#snapshot.outdated) return undefined;\n      const then",
    replace: "const then",
    killedBy: "a transaction is done anew whatever",
  },
  {
    breaks: "what is read does not show what was written",
    file,
    find: "if (this.#writes.has(key)) return copyOf(this.#writes.get(key));",
    replace: "",
    killedBy: "a transaction sees its own writes",
  },
];
