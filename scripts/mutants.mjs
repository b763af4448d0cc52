// npm run mutants [-- filter …] [--workers n]: breaks the code on purpose, one line at a time, and sees the suite notice.
import { install, run } from "./bootstrap.mjs";

install();
process.exitCode = await run("tsx", ["scripts/mutants/main.ts", ...process.argv.slice(2)]);
