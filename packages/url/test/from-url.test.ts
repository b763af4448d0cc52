import { randomUUID } from "node:crypto";
import { connect } from "@conclave/core";
import { describe, expect, test } from "vitest";
import { etcdServers } from "../../../test/harness/servers.ts";
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
