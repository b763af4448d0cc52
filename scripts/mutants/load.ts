import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Mutant } from "../../packages/conformance/mutants/mutant.ts";

/** A mutant, called after the file that it is in and what it breaks: "mutex: a release deletes by name alone". */
export interface NamedMutant extends Mutant {
  readonly recipe: string;
  readonly name: string;
}

/** How many a recipe must have at least. */
const fewest = 3;

/** The mutants in the files of a folder, each of which is called after a recipe. */
export async function loadMutants(folder: string): Promise<readonly NamedMutant[]> {
  const files = readdirSync(folder).filter((file) => file.endsWith(".ts") && file !== "mutant.ts");
  const perFile = files.sort().map(async (file) => {
    const module = await import(pathToFileURL(join(folder, file)).href);
    const { mutants } = module as { mutants: readonly Mutant[] };
    const recipe = basename(file, ".ts");
    return mutants.map((mutant) => ({ ...mutant, recipe, name: `${recipe}: ${mutant.breaks}` }));
  });
  return (await Promise.all(perFile)).flat();
}

/** Why a mutant is none, if it is none. */
export function flawOf({ file, find, replace }: Mutant, root: string): string | undefined {
  if (find === replace) return "it replaces what it finds by the same";
  if (!existsSync(join(root, file))) return `there is no file ${file}`;
  const times = readFileSync(join(root, file), "utf8").split(find).length - 1;
  return times === 1 ? undefined : `what it is to find stands ${times} times in ${file}, not once`;
}

/** The recipes that a conclave hands out, and the files, that have fewer mutants than they must. */
export function recipesWithTooFew(mutants: readonly NamedMutant[], root: string): readonly string[] {
  const door = readFileSync(join(root, "packages/core/src/conclave.ts"), "utf8");
  const handedOut = [...door.matchAll(/^(?:import (?!type).*|\}) from "\.\/recipes\/(?:.+\/)?(.+)\.ts";$/gm)].map(
    ([, name]) => name,
  );
  const recipes = new Set([...handedOut, ...mutants.map(({ recipe }) => recipe)]);
  return [...recipes].flatMap((recipe) => {
    const count = mutants.filter((mutant) => mutant.recipe === recipe).length;
    if (count >= fewest) return [];
    return [`packages/conformance/mutants/${recipe}.ts has ${count} mutants, and must have at least ${fewest}`];
  });
}
