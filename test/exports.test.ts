import "reflect-metadata"; // tsyringe asks for it
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const packages = new URL("../packages/", import.meta.url);
const entries = readdirSync(packages).flatMap((folder) => {
  const { name, exports } = JSON.parse(readFileSync(new URL(`${folder}/package.json`, packages), "utf8"));
  return Object.entries<{ default: string } | string>(exports).flatMap(([path, target]) => {
    if (typeof target === "string") return [];
    const source = target.default.replace("./dist/", `${folder}/src/`).replace(/\.js$/, ".ts");
    return [{ name: `${name}${path.slice(1)}`, source: new URL(source, packages) }];
  });
});

test("what the packages export is what was agreed on", async () => {
  const exported = entries.map(({ name, source }) => [name, ...namesIn(source).sort()].join("\n  "));
  const message = "if the change is meant: npm test -- exports -u, and say so in the commit";
  await expect(`${exported.join("\n\n")}\n`, message).toMatchFileSnapshot("exports.txt");
});

test.each(entries)("of $name, every value that is there was listed", async ({ source }) => {
  expect(namesIn(source)).toEqual(expect.arrayContaining(Object.keys(await import(source.href))));
});

/** The names a module exports, types with `type` before them, by the forms of `export` that this repository uses. */
function namesIn(file: URL): string[] {
  const text = readFileSync(file, "utf8").replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const lists = [...text.matchAll(/^export (type )?\{([^}]*)\}/gm)].flatMap(([, type = "", list = ""]) =>
    list.split(",").flatMap((item) => {
      const name = item.trim().replace(/^(type )?.* as /, "$1");
      return name === "" ? [] : [name.startsWith("type ") ? name : `${type}${name}`];
    }),
  );
  const types = [...text.matchAll(/^export (?:declare )?(?:interface|type) (\w+)/gm)].map(([, name]) => `type ${name}`);
  const values = [...text.matchAll(/^export (?:abstract |async )?(?:class|const|function)\*? (\w+)/gm)];
  const others = [...text.matchAll(/^export (type )?\* from "(.+)"/gm)].flatMap(([, type, path = ""]) => {
    const names = namesIn(new URL(path, file));
    return type ? names.map((name) => (name.startsWith("type ") ? name : `type ${name}`)) : names;
  });
  const all = new Set([...lists, ...types, ...values.map(([, name = ""]) => name), ...others]);
  return [...all].filter((name) => !all.has(name.replace(/^type /, "")) || !name.startsWith("type "));
}
