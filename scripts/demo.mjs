// npm run demo [-- options]: the demonstration, on memory unless told otherwise.
import { install, run } from "./bootstrap.mjs";

install();
process.exitCode = await run("tsx", ["examples/demo.ts", ...process.argv.slice(2)]);
