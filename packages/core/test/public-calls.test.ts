import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Conclave } from "../src/conclave.ts";

const source = fileURLToPath(new URL("../src/", import.meta.url));
const tests = fileURLToPath(new URL("./", import.meta.url));

type Class = (abstract new (...args: never) => object) & { readonly prototype: object };

/** What the package exports, by the file that it comes from: names as they are there. */
async function exported(): Promise<
  readonly { readonly name: string; readonly file: string; readonly value: unknown }[]
> {
  const index = readFileSync(`${source}index.ts`, "utf8");
  const lines = index.matchAll(/export (?:type )?\{([^}]+)\} from "\.\/(.+)";/g);
  const perFile = [...lines].map(async ([, list = "", file = ""]) => {
    const module = (await import(/* @vite-ignore */ source + file)) as Record<string, unknown>;
    const names = list.split(",").flatMap((item) => /^\s*(?:type )?(\w+)/.exec(item)?.[1] ?? []);
    return names.map((name) => ({ name, file, value: module[name] }));
  });
  return (await Promise.all(perFile)).flat();
}

/** The methods of a class that a program can call with arguments. */
function methodsOf({ prototype }: Class, file: string): readonly string[] {
  const text = readFileSync(source + file, "utf8");
  return Object.entries(Object.getOwnPropertyDescriptors(prototype))
    .filter(([name, { value }]) => name !== "constructor" && typeof value === "function" && takesArguments(value))
    .map(([name]) => name)
    .filter((name) => !new RegExp(`^  protected (?:override )?(?:async )?${name}\\b`, "m").test(text));
}

function takesArguments(method: (...args: never) => unknown): boolean {
  return !/^(?:async )?\*?\s*[\w$]+\(\s*\)/.test(method.toString());
}

/** What a class goes by in the tests: its own name, and how a conclave hands it out. */
function aliasesOf(name: string): readonly string[] {
  const door = readFileSync(`${source}conclave.ts`, "utf8");
  const handingOut = door.matchAll(new RegExp(`^  (?:async )?(\\w+)(?:<.*>)?\\(.*\\): (?:Promise<)?${name}\\b`, "gm"));
  return [name, ...[...handingOut].flatMap(([, method]) => method ?? [])];
}

/** What all calls of `describeJunk` name, up to the first space: "mutex.acquire", "connect". */
function junkGetters(): ReadonlySet<string> {
  const files = readdirSync(tests).filter((file) => file.endsWith(".test.ts") && !file.startsWith("public-calls"));
  const calls = files.flatMap((file) => {
    const parts = readFileSync(tests + file, "utf8").split(/^describeJunk(?:On)?\(/m);
    return parts.slice(1).map((part) => part.split(/^}\);/m)[0] ?? "");
  });
  // Each stands at the beginning of a line, as the formatter puts it.
  const keys = calls.flatMap((call) => [...call.matchAll(/^ {2}(?:"([^"]+)"|(\w+)): /gm)]);
  return new Set(keys.map(([, quoted, bare]) => (quoted ?? bare ?? "").split(" ", 1)[0]?.toLowerCase() ?? ""));
}

test("everything public that takes an argument is given junk", async () => {
  const covered = junkGetters();
  const isCovered = (...names: readonly string[]) => names.some((name) => covered.has(name.toLowerCase()));
  const begun = (name: string) => [...covered].some((call) => call.startsWith(`${name.toLowerCase()}.`));
  const missing = (await exported()).flatMap(({ name, file, value }) => {
    if (typeof value !== "function") return [];
    if (!/^class\b/.test(value.toString())) return isCovered(name) ? [] : [name];
    const methods = methodsOf(value as Class, file);
    // What hands something out is given junk along with that.
    if (value === Conclave) return methods.filter((method) => !isCovered(method) && !begun(method));
    return methods
      .filter((method) => !isCovered(...aliasesOf(name).map((alias) => `${alias}.${method}`)))
      .map((method) => `${name}.${method}`);
  });
  expect(missing, "to be added to a describeJunk").toEqual([]);
});
