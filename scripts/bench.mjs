// npm run bench: what locks cost, beside the alternative.
import { install, run } from "./bootstrap.mjs";
import { ensureEtcds } from "./servers/install.mjs";

install();
for (const problem of (await ensureEtcds()).problems) console.log(problem);
process.exitCode = await run("tsx", ["bench/locks.ts"]);
