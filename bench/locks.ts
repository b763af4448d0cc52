// What a lock costs, beside what one would use from Node instead: `npm run bench`, or `npm run bench -- redis`.
import { compare } from "./compare.ts";
import { matchOnEtcd } from "./on-etcd.ts";
import { matchOnRedis } from "./on-redis.ts";
import { matchOnZooKeeper } from "./on-zookeeper.ts";

const matches = { etcd: matchOnEtcd, redis: matchOnRedis, zookeeper: matchOnZooKeeper };
const named = process.argv.slice(2);

for (const [store, open] of Object.entries(matches)) {
  if (named.length > 0 && !named.includes(store)) continue;
  await using match = await open();
  await compare(match);
}
process.exit(0);
