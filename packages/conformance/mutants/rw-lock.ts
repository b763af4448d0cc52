import type { Mutant } from "./mutant.ts";

const rwLock = "packages/core/src/recipes/locks/rw-lock.ts";
const line = "packages/core/src/line.ts";
const hold = "packages/core/src/hold.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "a reader waits for no writer",
    file: rwLock,
    find: "ahead: writing, passable:",
    replace: "ahead: reading, passable:",
    killedBy: "a lock with readers and writers lets nobody in beside one who writes",
  },
  {
    breaks: "a reader passes writers who wait, so that readers starve them",
    file: rwLock,
    find: 'passable: (entry) => modeOf(entry) === "read" });',
    replace: 'passable: (entry) => modeOf(entry) === "read" || entry.created === entry.modified });',
    killedBy: "a lock with readers and writers keeps readers who come after a writer behind it",
  },
  {
    breaks: "a writer waits for writers only",
    file: rwLock,
    find: "ahead: this.#prefix });",
    replace: "ahead: writing });",
    killedBy: "a lock with readers and writers lets in all who read",
  },
  {
    breaks: "a writer passes one that has downgraded",
    file: rwLock,
    find: "ahead: this.#prefix });",
    replace: 'ahead: this.#prefix, passable: (entry) => modeOf(entry) === "read" });',
    killedBy: "a lock with readers and writers, downgraded",
  },
  {
    breaks: "a downgrade makes another key, and so loses its place in line",
    file: hold,
    find: "put: this.key, value, lease",
    replace: 'put: this.key + "-read", value, lease',
    killedBy: "a lock with readers and writers, downgraded",
  },
  {
    breaks: "a downgrade takes the key off its lease, so that a dead reader keeps it",
    file: hold,
    find: "{ put: this.key, value, lease: this.session.lease }",
    replace: "{ put: this.key, value }",
    killedBy: "a lock with readers and writers, downgraded leaves no gap",
  },
  {
    breaks: "a downgrade does not say that it reads",
    file: rwLock,
    find: 'this.#downgraded = textOf("read"',
    replace: 'this.#downgraded = textOf("write"',
    killedBy: "a lock with readers and writers, downgraded",
  },
  {
    breaks: "whoever only tries to read gives up at a writer that has downgraded",
    file: line,
    find: "if (place || !passable) return place;",
    replace: "if (place || passable !== undefined) return place;",
    killedBy: "a lock with readers and writers gives the lock to who only tries",
  },
];
