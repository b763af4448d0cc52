import type { Mutant } from "./mutant.ts";

const share = "packages/core/src/recipes/groups/share.ts";
const partition = "packages/core/src/recipes/groups/partition.ts";
const partitioner = "packages/core/src/recipes/groups/partitioner.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "a partition is claimed although another has it",
    file: share,
    find: "...keys.map((key) => ({ key, exists: false }))",
    replace: "",
    killedBy: "a partitioner claims nothing that another has",
  },
  {
    breaks: "a partition is given back before its user has stopped",
    file: share,
    find: "#revoke(name: string, revoke: AbortController): void {",
    replace: "#revoke(name: string, revoke: AbortController): void { void this.#owned.get(name)?.partition.release();",
    killedBy: "a partitioner gives a partition to nobody before its last user has stopped",
  },
  {
    breaks: "what the user was not yet told to stop is given back when it asks",
    file: share,
    find: "!partition.isHeld() && !this.#tells(partition)",
    replace: "!partition.isHeld()",
    killedBy: "a partitioner",
  },
  {
    breaks: "every member wants every partition",
    file: share,
    find: "rendezvous(name, members) === this.#id",
    replace: "members.includes(this.#id)",
    killedBy: "a partitioner gives one member everything, and moves only",
  },
  {
    breaks: "partitions move to other members than they need to",
    file: partition,
    find: "return highest(names, (name) =>",
    replace: "const all = [...names]; return all[hash(key) % all.length]; return highest(names, (name) =>",
    killedBy: "a partitioner gives one member everything, and moves only",
  },
  {
    breaks: "partitions that were lost are not claimed anew",
    file: share,
    find: "for (const { partition } of given) this.#owned.delete(partition.name);",
    replace: "",
    killedBy: "a partitioner claims a partition anew whose key is deleted by hand",
  },
  {
    breaks: "who leaves keeps its partitions",
    file: share,
    find: "await this.#giveBack(() => true);",
    replace: "",
    killedBy: "a partitioner gives what it had to the others when a member leaves",
  },
  {
    breaks: "a run gives partitions back while their work still ends",
    file: partitioner,
    find: "await Promise.all(gone.map(([, ended]) => ended));",
    replace: "",
    killedBy: "a partitioner runs work for each partition",
  },
];
