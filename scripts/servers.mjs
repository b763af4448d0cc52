// npm run servers: real servers for development, on ports that stay the same, until Ctrl-C.
import { install, run } from "./bootstrap.mjs";
import { ensureServers } from "./servers/install.mjs";

install();
const { located, problems } = await ensureServers({ stores: ["etcd", "redis", "zookeeper"] });
for (const problem of problems) console.log(problem);
if (located.etcds.length === 0 && !located.redis && !located.zookeeper) {
  console.log("There is no server on this machine: put one on PATH, or see compose.yaml.");
  process.exitCode = 1;
} else {
  process.exitCode = await run("tsx", ["scripts/servers/serve.ts"]);
}
