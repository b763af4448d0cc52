import type { Mutant } from "./mutant.ts";

const [cell, tally] = ["packages/core/src/recipes/values/cell.ts", "packages/core/src/recipes/values/tally.ts"];

export const mutants: readonly Mutant[] = [
  {
    breaks: "an add writes over what another process wrote meanwhile",
    file: cell,
    find: "if: [unchanged], then: [{ put: key, value }]",
    replace: "if: [], then: [{ put: key, value }]",
    killedBy: "a counter gives each of many adds",
  },
  {
    breaks: "an add that another process was faster than is told to be done",
    file: tally,
    find: "if (!outcome.swapped) {",
    replace: "if (false) {",
    killedBy: "a counter gives each of many adds",
  },
  {
    breaks: "all who ride together are told the last sum",
    file: tally,
    find: "for (const [{ hear }, sum] of sums) hear(sum);",
    replace: "for (const [{ hear }] of sums) hear(total);",
    killedBy: "a counter gives each who adds at once",
  },
  {
    breaks: "who gave up while it waited is added all the same",
    file: tally,
    find: "this.#waiting = this.#waiting.filter((other) => other !== adder);",
    replace: "",
    killedBy: "a counter adds nothing for who gives up",
  },
  {
    breaks: "a sum wraps around at 64 bits",
    file: tally,
    find: "const sum = total + adder.delta;",
    replace: "const sum = BigInt.asIntN(64, total + adder.delta);",
    killedBy: "a counter refuses what would leave 64 bits",
  },
  {
    breaks: "somebody is refused for a number that is remembered, and no longer so",
    file: tally,
    find: "if (summedUp(this.#waiting, held).sums.size === 0) held = await this.#cell.read();",
    replace: "",
    killedBy: "a counter refuses what would leave 64 bits",
  },
  {
    breaks: "a comparison with what is remembered counts",
    file: cell,
    find: "if (value === undefined && fresh) return undefined;",
    replace: "if (value === undefined) return undefined;",
    killedBy: "a counter is set, and compared and set",
  },
  {
    breaks: "what another process wrote is never learnt, so that an add never ends",
    file: cell,
    find: "return { swapped: false, held: this.#learn(outcome.results[0]) };",
    replace: "return { swapped: false, held: outcome.results[0] };",
    killedBy: "a counter takes one commit an add",
  },
];
