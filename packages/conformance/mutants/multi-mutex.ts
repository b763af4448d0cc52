import type { Mutant } from "./mutant.ts";

const recipe = "packages/core/src/recipes/locks/multi-mutex.ts";
const line = "packages/core/src/line.ts";
const place = "packages/core/src/place.ts";
const hold = "packages/core/src/hold.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "only the first of the lines is waited for",
    file: line,
    find: "return this.#lanes.flatMap(({ passable }, index) => {",
    replace: "return this.#lanes.slice(0, 1).flatMap(({ passable }, index) => {",
    killedBy: "several mutexes at once excludes",
  },
  {
    breaks: "who gets its turn in one line takes them all",
    file: line,
    find: "return others || now.length === 0 ? now : undefined;",
    replace: "return others || now.length < ahead.length ? [] : undefined;",
    killedBy: "several mutexes at once waits for its turn in every line",
  },
  {
    breaks: "the watches are set up again whenever one of those ahead leaves",
    file: line,
    find: "return others || now.length === 0 ? now : undefined;",
    replace: "return others || now.length < ahead.length ? now : undefined;",
    killedBy: "several mutexes at once waits for its turn in every line",
  },
  {
    breaks: "trying looks at the first of the lines only",
    file: line,
    find: "= prefixes.map((prefix) => ({ prefix, empty: true }));",
    replace: "= prefixes.slice(0, 1).map((prefix) => ({ prefix, empty: true }));",
    killedBy: "several mutexes at once takes what is free",
  },
  {
    breaks: "the loss of any key but the first goes unnoticed",
    file: hold,
    find: "this.#watched = keys.map(",
    replace: "this.#watched = keys.slice(0, 1).map(",
    killedBy: "several mutexes at once is lost when one of them is",
  },
  {
    breaks: "a transaction is guarded by the first key alone",
    file: hold,
    find: "never(this.key) : keys.map(",
    replace: "never(this.key) : keys.slice(0, 1).map(",
    killedBy: "several mutexes at once is lost when one of them is",
  },
  {
    breaks: "a waiter sees the loss of its first place only",
    file: place,
    find: "const missing = entries.findIndex((entry) => entry === undefined || entry.created !== expected);",
    replace:
      "const missing = entries.slice(0, 1).findIndex((entry) => entry === undefined || entry.created !== expected);",
    killedBy: "several mutexes at once rejects a waiter of whose places one is deleted",
  },
  {
    breaks: "a release leaves the others where one key is gone",
    file: "packages/core/src/session.ts",
    find: "if (!succeeded && doomed.length > 1)",
    replace: "if (!succeeded && doomed.length > 99)",
    killedBy: "several mutexes at once is lost when one of them is",
  },
  {
    breaks: "each mutex is taken with a commit of its own",
    file: recipe,
    find: "const place = await this.#line.take(encode(this.#context.owner), options);",
    replace:
      'await this.#context.backend.kv.list("", { limit: 1 });\n    const place = await this.#line.take(encode(this.#context.owner), options);',
    killedBy: "several mutexes at once takes thirty-two",
  },
];
