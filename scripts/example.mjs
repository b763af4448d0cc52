// npm run example <name> [-- options]: one of the files in examples/.
import { existsSync, readdirSync } from "node:fs";
import { install, root, run } from "./bootstrap.mjs";

const [name = "", ...options] = process.argv.slice(2);
const file = `examples/${name.replace(/^examples\/|\.ts$/g, "")}.ts`;
if (name !== "" && existsSync(root + file)) {
  install();
  process.exitCode = await run("tsx", [file, ...options]);
} else {
  const names = readdirSync(`${root}examples`).filter((entry) => entry.endsWith(".ts"));
  console.log(name === "" ? "Which example?" : `There is no example "${name}".`);
  for (const entry of names.sort()) console.log(`  npm run example ${entry.replace(/\.ts$/, "")}`);
  process.exitCode = 1;
}
