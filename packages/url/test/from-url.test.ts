import { randomUUID } from "node:crypto";
import { inspect } from "node:util";
import { connect } from "@conclave/core";
import { describe, expect, test } from "vitest";
import { startRedis } from "../../../test/harness/redis-process.ts";
import { etcdServers, redisBinaries, redisServers, zookeeperServers } from "../../../test/harness/servers.ts";
import { connectUrl, fromUrl } from "../src/index.ts";
import { isolated } from "./isolated.ts";

test("a URL that cannot be meant is refused at once, before anything is connected", async () => {
  expect(() => fromUrl("postgres://db")).toThrow(RangeError);
  expect(() => fromUrl(undefined as never)).toThrow(TypeError);
  await expect(connectUrl("postgres://db")).rejects.toThrow(RangeError);
});

describe("memory", () => {
  test("is one store for each name in a process", async () => {
    const name = randomUUID();
    await using one = await connectUrl(`memory:${name}`);
    await using same = await connect(fromUrl(`memory:${name}`));
    await using other = await connectUrl(`memory:${name}-other`);
    await one.kv.commit({ then: [{ put: "key", value: new Uint8Array([7]) }] });
    expect((await same.kv.get("key"))?.value).toEqual(new Uint8Array([7]));
    expect(await other.kv.get("key")).toBeUndefined();
  });

  test("without a name is a store too", async () => {
    await using one = await connectUrl("memory:", { namespace: randomUUID() });
    expect(one.backend.name).toBe("memory");
  });

  test("gives each connect a client of its own", async () => {
    const store = fromUrl(`memory:${randomUUID()}`);
    await using one = await connect(store);
    const other = await connect(store);
    await other.close();
    await one.mutex("orders").run(() => {});
  });

  test("is not connected to once the signal has aborted", async () => {
    const reason = new Error("enough");
    await expect(connectUrl("memory:", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

describe.each(etcdServers())("$name", ({ endpoint }) => {
  const host = new URL(endpoint).host;

  test("is reached by its URL, with the conclave's options", async () => {
    const namespace = `url-${randomUUID()}`;
    await using one = await connectUrl(`etcd://${host}`, { namespace });
    await using other = await connectUrl(`etcd://${host},${host}?callTimeoutMs=3000`, { namespace });
    await using hold = await one.mutex("orders").acquire();
    expect(await other.mutex("orders").tryAcquire()).toBeUndefined();
    expect(hold.isHeld()).toBe(true);
  });
});

describe.each(redisServers())("$name", ({ open }) => {
  test("is reached by its URL, and each space of it is a store of its own", async () => {
    await using redis = await open();
    await expectStoreOfItsOwn(redis.url, `${redis.url}/0?callTimeoutMs=3000`, `${redis.url}?space=another`);
  });
});

describe.each(zookeeperServers())("$name", ({ open }) => {
  test("is reached by its URL, and each root of it is a store of its own", async () => {
    await using zookeeper = await open();
    const url = `zookeeper://${zookeeper.servers.join()}`;
    await expectStoreOfItsOwn(url, `${url}/conclave?callTimeoutMs=3000`, `${url}/another/one`);
    const mine = `${url.replace("//", "//u:p%40ss%2Fword@")}/mine`;
    await expectStoreOfItsOwn(mine, mine, `${url}/yours`);
    await using stranger = await connectUrl(`${url}/mine`);
    await expect(stranger.kv.get("key")).rejects.toMatchObject({ code: "DENIED" });
  });
});

describe.each(redisBinaries())("$name", ({ binary }) => {
  test("takes the user and password of a URL, and no others, which no message shows", async () => {
    const acl = ["user default off", "user app on >p@ss/w%rd:1 ~* &* +@all"];
    await using redis = await startRedis({ binary, acl, username: "app", password: "p@ss/w%rd:1" });
    const as = (password: string) => redis.url.replace("//", `//app:${encodeURIComponent(password)}@`);
    await using conclave = await connectUrl(as("p@ss/w%rd:1"));
    await conclave.mutex("orders").run(() => {});
    const refusal = await connectUrl(as("hunter2")).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: "DENIED" });
    expect(inspect(refusal)).not.toContain("hunter2");
  });
});

/** What is put by the first URL is seen by the second, and not by the third. */
async function expectStoreOfItsOwn(url: string, same: string, other: string): Promise<void> {
  const [one, two, three] = await Promise.all([url, same, other].map((each) => connectUrl(each)));
  await one?.kv.commit({ then: [{ put: "key", value: new Uint8Array([7]) }] });
  expect((await two?.kv.get("key"))?.value).toEqual(new Uint8Array([7]));
  expect(await three?.kv.get("key")).toBeUndefined();
  await Promise.all([one, two, three].map((conclave) => conclave?.close()));
}

test("a server that is not there is UNAVAILABLE within the time that the URL gives", async () => {
  const startedAt = performance.now();
  await expect(connectUrl("etcd://127.0.0.1:1?connectTimeoutMs=300")).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(performance.now() - startedAt).toBeLessThan(3_000); // five seconds without it
});

describe("where the adapter's package is not installed", () => {
  test.each([
    ["memory:", "@conclave/backend-memory"],
    ["etcd://h", "@conclave/backend-etcd"],
    ["redis://h", "@conclave/backend-redis"],
    ["zookeeper://h", "@conclave/backend-zookeeper"],
  ])("%s is a connector, and connecting says what to install", async (url, name) => {
    const { made, message } = await isolated(url);
    expect(made).toBe(true);
    expect(message).toContain(`npm install ${name}`);
  });

  test("a package that is there and broken is not said to be missing", async () => {
    const { message } = await isolated("etcd://h", {
      "@conclave/backend-etcd": `import "no-such-driver"; export const etcd = () => {};`,
    });
    expect(message).toContain("no-such-driver");
    expect(message).not.toContain("npm install");
  });
});
