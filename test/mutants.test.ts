import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { Mutant } from "../packages/conformance/mutants/mutant.ts";
import { judge } from "../scripts/mutants/judge.ts";
import { type NamedMutant, recipesWithTooFew } from "../scripts/mutants/load.ts";

const root = fileURLToPath(new URL("fixtures/mutants/", import.meta.url));

/** A mutant that the fixture's tests notice, unless told otherwise. */
function mutant(breaks: string, change: Partial<Mutant> = {}): NamedMutant {
  const usual = {
    file: "sum.ts",
    find: "total += number",
    replace: "total -= number",
    killedBy: "a sum adds (all of them)",
  };
  return { breaks, ...usual, ...change, recipe: "sum", name: `sum: ${breaks}` };
}

/** What the runner says of mutants, and how many of them it takes for killed. */
async function verdictsOn(mutants: readonly NamedMutant[], timeoutMs = 20_000) {
  const lines: string[] = [];
  const print = (line: string) => lines.push(line.replace(/ +\d+ ms +/, " "));
  const { killed } = await judge(mutants, { root, config: "vitest.config.ts", workers: 1, print, timeoutMs });
  return { killed, lines };
}

describe("the runner of mutants", { timeout: 120_000 }, () => {
  test("takes for killed what a test notices, and for survived what none does", async () => {
    const { killed, lines } = await verdictsOn([
      mutant("adds the wrong way"),
      mutant("hardly anything", { find: "let total = 0;", replace: "let total = -0;" }),
      mutant("adds the wrong way again"),
    ]);
    expect(killed).toBe(2);
    expect(lines).toEqual([
      '✓ sum: adds the wrong way: killed by "a sum adds (all of them)"',
      "✗ sum: hardly anything: SURVIVED 1 tests",
      '✓ sum: adds the wrong way again: killed by "a sum adds (all of them)"',
    ]);
  });

  test("takes no mutant for killed that could not be tried", async () => {
    const { killed, lines } = await verdictsOn([
      mutant("two places", { find: "number" }),
      mutant("no place", { find: "subtract" }),
      mutant("nothing", { replace: "total += number" }),
      mutant("what no test is for", { killedBy: "a product" }),
      mutant("what fails anyhow", { killedBy: "fails anyhow" }),
      mutant("the syntax", { replace: "total +=" }),
      mutant("an import", { find: "/** What", replace: "import './nowhere.ts'; /** What" }),
    ]);
    expect(killed).toBe(0);
    expect(lines).toEqual([
      expect.stringMatching(/^✗ sum: two places: error: .* stands \d times in sum.ts, not once$/),
      "✗ sum: no place: error: what it is to find stands 0 times in sum.ts, not once",
      "✗ sum: nothing: error: it replaces what it finds by the same",
      '✗ sum: what no test is for: error: no test is called "a product"',
      expect.stringMatching(/^✗ sum: what fails anyhow: error: without the mutant, "fails anyhow" fails: expected 4/),
      expect.stringMatching(/^✗ sum: the syntax: error, and no test failed: /),
      expect.stringMatching(/^✗ sum: an import: error, and no test failed: /),
    ]);
  });

  test("ends tests that hang, says so, and goes on", async () => {
    const hanging = { find: "return total;", replace: "for (;;);" };
    const { killed, lines } = await verdictsOn([mutant("its end", hanging), mutant("adds the wrong way")], 3_000);
    expect(killed).toBe(2);
    expect(lines[0]).toBe("✓ sum: its end: killed by the timeout of 3000 ms");
  });

  test("does not wait for what still hangs when a test has noticed", async () => {
    const negative = { find: "return total;", replace: "return -total - 1;", killedBy: "a sum" };
    const { killed, lines } = await verdictsOn([mutant("its sign", negative)]);
    expect(killed).toBe(1);
    expect(lines).toEqual(['✓ sum: its sign: killed by "a sum adds (all of them)"']);
  });

  test("misses no recipe that a conclave hands out, and none with too few", () => {
    const repository = fileURLToPath(new URL("..", import.meta.url));
    const found = recipesWithTooFew([mutant("one"), mutant("another")], repository);
    expect(found).toContain("packages/conformance/mutants/mutex.ts has 0 mutants, and must have at least 3");
    expect(found).toContain("packages/conformance/mutants/sum.ts has 2 mutants, and must have at least 3");
    const enough = ["one", "another", "a third"].map((breaks) => mutant(breaks));
    expect(recipesWithTooFew(enough, repository).join()).not.toContain("sum.ts");
  });
});
