import { type Script, script } from "./link.ts";
import { commands } from "./lua/commands.ts";
import { reads } from "./lua/reads.ts";
import { state } from "./lua/state.ts";

/** The keys of a space, in the script's order. All share one hash tag, so that a cluster keeps them on one primary. */
export function keysOf(space: string): readonly string[] {
  return ["meta", "entries", "order", "births", "changes", "leases", "held"].map((part) => `{${space}}:${part}`);
}

/** Where in `keysOf` the stream of changes is, which readers read by themselves. */
export const changesKey = 4;

/**
 * Everything that a client does to the store, as one script: Redis runs it as one step. What is kept:
 *
 * - `meta`     hash: `rev`, the last revision; `tail`, the id of the last change; `size`, of a change, on average in bytes
 * - `entries`  hash: key -> created (16 digits), modified (16), lease (32; all "-" for none), then the value
 * - `order`    sorted set of the keys, all of one score, which puts them in the order of their bytes
 * - `births`   sorted set of `directory \0 created \0 key`, a directory being a key up to its last "/"
 * - `changes`  stream: one entry for each revision (large ones have several), `after` naming the entry before it
 * - `leases`   sorted set: lease -> when it ends, in the server's milliseconds
 * - `held`     sorted set of `lease \0 key`
 *
 * A revision is the server's time in microseconds, and more than the last: a primary that lost its latest writes does not
 * give out their revisions again (a hybrid logical clock; Kulkarni et al., 2014). They are exact in Lua's numbers until
 * the year 2255. Strings are never compared by `<`, which would be by the server's locale.
 *
 * Redis undoes nothing when a script fails. So all that can fail comes before the first write.
 */
export const store: Script = script([state, reads, commands].join("\n"));
