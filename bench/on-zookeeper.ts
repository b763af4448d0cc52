import { zookeeper } from "@conclave/backend-zookeeper";
import { type Client, CreateMode, createClient } from "node-zookeeper-client";
import { locateServers } from "../scripts/servers/locate.mjs";
import { startZooKeeper } from "../test/harness/zookeeper-process.ts";
import { type Contender, type Match, many } from "./compare.ts";
import { conclaveOn } from "./ours.ts";

/** Beside the lock of ZooKeeper's own recipes, as one writes it on node-zookeeper-client, with no care for what may fail. */
export async function matchOnZooKeeper(): Promise<Match> {
  const found = locateServers().zookeeper;
  if (found === undefined) throw new Error("there is no ZooKeeper here; `npm run servers` brings one");
  const server = await startZooKeeper({ ...found });
  const ours = await conclaveOn(zookeeper({ servers: server.servers }));
  const clients = await many(() => connected(server.server));
  const theirs: Contender = { name: "by hand", cycle: (lock, client) => cycle(clients[client] as Client, `/${lock}`) };
  return {
    store: `ZooKeeper ${found.version}`,
    ours,
    theirs,
    async [Symbol.asyncDispose]() {
      await ours[Symbol.asyncDispose]();
      for (const client of clients) client.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

async function connected(server: string): Promise<Client> {
  const client = createClient(server, { sessionTimeout: 10_000 });
  await new Promise<void>((resolve) => {
    client.once("connected", resolve);
    client.connect();
  });
  return client;
}

/** Takes the next place in line, waits for the one before it to go, and gives it up. */
async function cycle(client: Client, lock: string): Promise<void> {
  await asked<void>((done) => client.mkdirp(lock, (error) => done(error)));
  const own = await asked<string>((done) => client.create(`${lock}/n-`, CreateMode.EPHEMERAL_SEQUENTIAL, done));
  for (;;) {
    const names = await asked<string[]>((done) => client.getChildren(lock, done));
    const before = names.sort()[names.indexOf(own.slice(lock.length + 1)) - 1];
    if (before === undefined) break;
    await new Promise<void>((gone, reject) => {
      const look = client.exists.bind(client, `${lock}/${before}`, () => gone());
      look((error, stat) => {
        if (error) reject(error);
        else if (stat === null) gone();
      });
    });
  }
  await asked<void>((done) => client.remove(own, (error) => done(error)));
}

function asked<T>(ask: (done: (error: unknown, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => ask((error, value) => (error ? reject(error) : resolve(value as T))));
}
