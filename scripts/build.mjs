// npm run build: compiles every package into its dist/, and type-checks tests and examples.
import { install, run } from "./bootstrap.mjs";

install();
process.exitCode = await run("tsc", ["-b", ...process.argv.slice(2)]);
