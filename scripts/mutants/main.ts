import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { judge } from "./judge.ts";
import { loadMutants, recipesWithTooFew } from "./load.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values, positionals: filters } = parseArgs({
  allowPositionals: true,
  options: { workers: { type: "string", default: String(availableParallelism()) } },
});
const workers = Number(values.workers);
if (!Number.isInteger(workers) || workers < 1)
  throw new RangeError(`--workers must be 1 or more, not ${values.workers}`);

const all = await loadMutants(`${root}packages/conformance/mutants`);
const recipes = new Set(all.map(({ recipe }) => recipe));
const mutants = all.filter(
  ({ recipe, name }) =>
    filters.length === 0 || filters.some((filter) => (recipes.has(filter) ? recipe === filter : name.includes(filter))),
);
const { killed } = await judge(mutants, { root, config: "vitest.mutants.config.ts", workers, print: console.log });
const tooFew = filters.length === 0 ? recipesWithTooFew(all, root) : [];
for (const problem of tooFew) console.log(`✗ ${problem}`);
console.log(`\n${killed} of ${mutants.length} mutants killed`);
process.exitCode = mutants.length > 0 && killed === mutants.length && tooFew.length === 0 ? 0 : 1;
