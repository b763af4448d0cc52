import { startEtcd } from "../../test/harness/etcd-process.ts";
import { startRedis, startRedisCluster } from "../../test/harness/redis-process.ts";
import { startEnsemble, startZooKeeper } from "../../test/harness/zookeeper-process.ts";
import { locateServers } from "./locate.mjs";

// Each has the port that its clients expect it on; the next of a kind is ten further, on every machine and day.
const { etcds, redis, zookeeper } = locateServers();
const urls: string[] = [];
const variables: string[] = [];

function say(name: string, version: string, url: string): void {
  console.log(`${`${name} ${version}`.padEnd(25)} ${url}`);
  urls.push(url);
}

try {
  const endpoints: string[] = [];
  for (const [index, { binary, version }] of etcds.entries()) {
    const { endpoint, port } = await startEtcd({ binary, port: 2379 + 10 * index });
    say("etcd", version, `etcd://127.0.0.1:${port}`);
    endpoints.push(endpoint);
  }
  if (endpoints.length > 0) variables.push(`ETCD_ENDPOINTS="${endpoints.join(" ")}"`);
  if (redis) {
    const { url } = await startRedis({ ...redis, port: 6379 });
    say("redis", redis.version, url);
    const { nodes } = await startRedisCluster({ ...redis, port: 6389 });
    say("redis cluster", redis.version, `redis+cluster://${nodes.join(",")}`);
    variables.push(`REDIS_URL=${url}`);
  }
  if (zookeeper) {
    const { server } = await startZooKeeper({ ...zookeeper, port: 2181 });
    say("zookeeper", zookeeper.version, `zookeeper://${server}`);
    const { servers } = await startEnsemble({ ...zookeeper, port: 2191 });
    say("zookeeper ensemble", zookeeper.version, `zookeeper://${servers.join(",")}`);
    variables.push(`ZOOKEEPER_HOSTS=${server}`);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

console.log(`
Try:   npm run demo -- --backend ${urls[0]}
Test:  ${variables.join(" ")} npm test
Their data goes when they end. Ctrl-C ends them.`);

// Whatever ends this process ends them too.
setInterval(() => {}, 2 ** 30);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(0));
