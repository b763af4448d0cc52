import type { Mutant } from "./mutant.ts";

const [file, cell] = ["packages/core/src/recipes/values/atomic.ts", "packages/core/src/recipes/values/cell.ts"];

export const mutants: readonly Mutant[] = [
  {
    breaks: "a value that was changed back is taken for the one that was read",
    file: cell,
    find: "const unchanged = modified === undefined ? { key, exists: false } : { key, modified };",
    replace: "const unchanged = { key, exists: modified !== undefined };",
    killedBy: "an atomic value is not mistaken",
  },
  {
    breaks: "a value that is there is set by who took it for absent",
    file: cell,
    find: "modified === undefined ? { key, exists: false } : { key, modified };",
    replace: "modified === undefined ? { prefix: key, noneModifiedAfter: 2n ** 62n } : { key, modified };",
    killedBy: "an atomic value is set by exactly one",
  },
  {
    breaks: "what an update throws of a value that is out of date counts",
    file: cell,
    find: "if (counts) throw error;",
    replace: "throw error;",
    killedBy: "an atomic value stays as it is when an update throws",
  },
  {
    breaks: "updates of one process do not take turns, and conflict",
    file: cell,
    find: "await abortable(before, signal);",
    replace: "",
    killedBy: "an atomic value takes one round trip",
  },
  {
    breaks: "who watches is not told of a value that is deleted",
    file,
    find: "yield versioned(entry);",
    replace: "if (entry) yield versioned(entry);",
    killedBy: "an atomic value is shown to who watches",
  },
  {
    breaks: "a set that was sent again writes over what others wrote since",
    file: cell,
    find: "const written = await this.#context.receipts.commit({ then: [write] }, options);",
    replace:
      "const written = { ...(await this.#context.backend.kv.commit({ then: [write] }, options)), applied: true };",
    killedBy: "an atomic value is set once",
  },
];
