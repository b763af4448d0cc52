import { redis } from "@conclave/backend-redis";
import { Redis } from "ioredis";
import { Mutex } from "redis-semaphore";
import { locateServers } from "../scripts/servers/locate.mjs";
import { startRedis } from "../test/harness/redis-process.ts";
import { type Contender, type Match, many } from "./compare.ts";
import { conclaveOn } from "./ours.ts";

/** Beside the mutex of redis-semaphore, which tries again every 10 ms. Nothing is kept on disk. */
export async function matchOnRedis(): Promise<Match> {
  const found = locateServers().redis;
  if (found === undefined) throw new Error("there is no Redis here; `npm run servers` brings one");
  const server = await startRedis({ binary: found.binary });
  const ours = await conclaveOn(redis({ url: server.url }));
  const clients = await many(() => new Redis(server.url));
  const theirs: Contender = {
    name: "redis-semaphore",
    async cycle(name, client) {
      const lock = new Mutex(clients[client] as Redis, name, { acquireTimeout: 60_000 });
      await lock.acquire();
      await lock.release();
    },
  };
  return {
    store: `Redis ${found.version}`,
    ours,
    theirs,
    async [Symbol.asyncDispose]() {
      await ours[Symbol.asyncDispose]();
      for (const client of clients) client.disconnect();
      await server[Symbol.asyncDispose]();
    },
  };
}
