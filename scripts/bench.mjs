// npm run bench [-- store …]: what locks cost, beside the alternative.
import { install, run } from "./bootstrap.mjs";
import { ensureServers } from "./servers/install.mjs";

install();
const stores = process.argv.slice(2);
const known = ["etcd", "redis", "zookeeper"];
const unknown = stores.find((store) => !known.includes(store));
if (unknown !== undefined) {
  console.error(`There is nothing to measure on ${unknown}: name one of ${known.join(", ")}.`);
  process.exit(1);
}
const wanted = stores.length > 0 ? stores : known;
for (const problem of (await ensureServers({ stores: wanted })).problems) console.log(problem);
// What is measured is what is built, as users run it.
process.exitCode =
  (await run("tsc", ["-b"])) || (await run("tsx", ["--tsconfig", "bench/tsconfig.json", "bench/locks.ts", ...wanted]));
