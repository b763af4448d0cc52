import type { Mutant } from "./mutant.ts";

const replica = "packages/core/src/replica.ts";
const entryMap = "packages/core/src/entry-map.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "a gap is passed over",
    file: replica,
    find: `if ("gap" in batch) await this.#relist(this.#ended.signal);`,
    replace: `if ("gap" in batch) continue;`,
    killedBy: "a replica looks again after a gap",
  },
  {
    breaks: "a list that arrives late is applied over newer news of the watch",
    file: replica,
    find: "revision >= this.#revision && !this.#shows(entries)",
    replace: "!this.#shows(entries)",
    killedBy: "a replica does not go back to what a list shows",
  },
  {
    breaks: "what the watch tells is applied although a list has shown later",
    file: replica,
    find: "if (modified <= this.#revision) continue;",
    replace: "",
    killedBy: "a replica skips what the watch tells",
  },
  {
    breaks: "a writer is told that its write is shown before it is",
    file: replica,
    find: "while (this.#revision < revision) {",
    replace: "while (this.#revision === 0n) {",
    killedBy: "a replica lets a writer read its own write",
  },
  {
    breaks: "the revision of a write elsewhere is waited for until the next audit",
    file: replica,
    find: "if (this.#revision < revision && this.#bell.rings === heard) await this.#relist(signal);",
    replace: "",
    killedBy: "a replica reaches the revision of what was written elsewhere",
  },
  {
    breaks: "readers share what they read",
    file: entryMap,
    find: "return { ...entry, value: new Uint8Array(entry.value) };",
    replace: "return entry;",
    killedBy: "a replica gives views that no later change, and no reader, alters",
  },
];
