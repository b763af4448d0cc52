// npm run servers: real etcds for development, on ports that stay the same, until Ctrl-C.
import { install, run } from "./bootstrap.mjs";
import { ensureEtcds } from "./servers/install.mjs";

install();
const { etcds, problems } = await ensureEtcds();
for (const problem of problems) console.log(problem);
if (etcds.length === 0) {
  console.log("There is no etcd on this machine: put one on PATH, or see compose.yaml.");
  process.exitCode = 1;
} else {
  process.exitCode = await run("tsx", ["scripts/servers/serve.ts"]);
}
