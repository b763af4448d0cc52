import { startEtcd } from "../../test/harness/etcd-process.ts";
import { locateEtcds } from "./locate.mjs";

// The newest gets etcd's usual port, the next one ten further, so that each has its own on every machine and day.
const etcds = locateEtcds().map((etcd, index) => ({ ...etcd, port: 2379 + 10 * index }));

try {
  for (const { binary, version, port } of etcds) {
    const { endpoint } = await startEtcd({ binary, port });
    console.log(`etcd ${version.padEnd(8)} ${endpoint}`);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

console.log(`
Try:   npm run demo -- --backend etcd://127.0.0.1:${etcds[0]?.port}
Test:  ETCD_ENDPOINTS="${etcds.map(({ port }) => `http://127.0.0.1:${port}`).join(" ")}" npm test
Their data goes when they end. Ctrl-C ends them.`);

// Whatever ends this process ends them too.
setInterval(() => {}, 2 ** 30);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(0));
