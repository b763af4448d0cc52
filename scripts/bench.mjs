// npm run bench: what locks cost, beside the alternative.
import { install, run } from "./bootstrap.mjs";
import { ensureServers } from "./servers/install.mjs";

install();
for (const problem of (await ensureServers({ stores: ["etcd"] })).problems) console.log(problem);
process.exitCode = await run("tsx", ["bench/locks.ts"]);
