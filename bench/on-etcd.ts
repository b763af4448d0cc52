import { etcd } from "@conclave/backend-etcd";
import { Etcd3 } from "etcd3";
import { locateServers } from "../scripts/servers/locate.mjs";
import { startEtcd } from "../test/harness/etcd-process.ts";
import { type Contender, type Match, many } from "./compare.ts";
import { conclaveOn } from "./ours.ts";

/** Beside the lock of etcd3. It is not waited for: one that is taken fails at once, and is tried for again after 5 to 15 ms. */
export async function matchOnEtcd(): Promise<Match> {
  const [found] = locateServers().etcds;
  if (found === undefined) throw new Error("there is no etcd here; `npm run servers` brings one");
  const server = await startEtcd({ binary: found.binary });
  const ours = await conclaveOn(etcd({ endpoints: [server.endpoint] }));
  const clients = await many(() => new Etcd3({ hosts: server.endpoint }));
  const theirs: Contender = {
    name: "etcd3",
    async cycle(name, client) {
      for (;;) {
        const lock = (clients[client] as Etcd3).lock(name).ttl(10);
        try {
          await lock.acquire();
          return await lock.release();
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 5 + 10 * Math.random()));
        }
      }
    },
  };
  return {
    store: `etcd ${found.version}`,
    ours,
    theirs,
    async [Symbol.asyncDispose]() {
      await ours[Symbol.asyncDispose]();
      for (const client of clients) client.close();
      await server[Symbol.asyncDispose]();
    },
  };
}
