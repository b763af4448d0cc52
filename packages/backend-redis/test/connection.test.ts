import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { systemClock } from "@conclave/core/backend";
import { describe, expect, it } from "vitest";
import { runNode } from "../../../test/harness/child.ts";
import { eventually } from "../../../test/harness/eventually.ts";
import { listenAnywhere } from "../../../test/harness/ports.ts";
import { type Redis, startRedis } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { startProxy } from "../../../test/harness/tcp-proxy.ts";
import { Connection } from "../src/connection.ts";
import { type ScriptCall, script } from "../src/link.ts";
import { type RedisOptions, settingsFrom } from "../src/options.ts";
import { NotSent } from "../src/outcome.ts";
import { Route } from "../src/route.ts";
import { binary, codeOf, connectTo, put, timed } from "./rig.ts";

/** A connection that closes with its scope. */
class Scoped extends Connection implements Disposable {
  constructor({ url }: { readonly url: string }, options: Partial<RedisOptions> = {}) {
    super(new Route(settingsFrom({ url, ...options })), "calls");
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const increments = script("return redis.call('INCR', KEYS[1])");

function increment(key: string, effect: ScriptCall["effect"] = "write"): ScriptCall {
  return { name: "increment", effect, script: increments, keys: [key], args: [] };
}

async function counted(server: Redis, key: string): Promise<number> {
  return Number((await server.call("GET", key)) ?? 0);
}

describe.each(redisBinaries())("a connection to Redis, on $name", () => {
  it("sends a script whole where the server does not know it, and by its name from then on", async () => {
    await using server = await startRedis({ binary: binary() });
    using connection = new Scoped(server);
    for (let round = 1; round <= 3; round++) {
      for (let index = 0; index < 10; index++) await connection.run(increment("n"));
      await server.call("SCRIPT", "FLUSH");
    }
    expect(await counted(server, "n")).toBe(30);
    const statistics = await server.info("commandstats");
    expect(statistics["cmdstat_eval"]).toMatch(/^calls=3,/);
    expect(statistics["cmdstat_evalsha"]).toMatch(/^calls=30,.*failed_calls=3$/);
  });

  it("carries bytes as they are, both ways", async () => {
    await using server = await startRedis({ binary: binary() });
    using connection = new Scoped(server);
    const bytes = Uint8Array.from({ length: 512 }, (_, index) => index);
    // A view that does not begin where its buffer does.
    const echo = { ...increment("n"), script: script("return ARGV"), args: [bytes.subarray(256), "ü", 7] };
    expect(await connection.run(echo)).toEqual([Buffer.from(bytes.subarray(256)), Buffer.from("ü"), Buffer.from("7")]);
  });

  it("shares one TCP connection among calls at the same time, however many wait for it", async () => {
    await using server = await startRedis({ binary: binary() });
    await using proxy = await startProxy(server.url);
    using connection = new Scoped(proxy);
    await Promise.all(Array.from({ length: 200 }, () => connection.run(increment("n"))));
    expect(await counted(server, "n")).toBe(200);
    expect(proxy.accepted).toBe(1);
  });

  it("settles an aborted write that was sent, and rejects one that was not, or a read, at once", async () => {
    await using server = await startRedis({ binary: binary() });
    await using proxy = await startProxy(server.url);
    using connection = new Scoped(proxy);
    await connection.run(increment("n"));
    proxy.stall();
    const reason = new Error("enough");
    const controller = new AbortController();
    const { signal } = controller;
    const sent = connection.run(increment("n"), { signal });
    const read = timed(codeOf(connection.run(increment("m", "read"), { signal })));
    await new Promise((resolve) => setTimeout(resolve, 50));
    controller.abort(reason);
    expect(await read).toMatchObject({ value: reason });
    await proxy.heal();
    expect(await sent).toBe(2);

    await proxy.refuse();
    await eventually(
      async () => (await codeOf(connection.run(increment("m", "read"), { timeoutMs: 20 }))) === "UNAVAILABLE",
    );
    const second = new AbortController();
    const unsent = timed(codeOf(connection.run(increment("n"), { signal: second.signal })));
    setTimeout(() => second.abort(reason), 100);
    expect(await unsent).toMatchObject({ value: reason });
    expect((await unsent).tookMs).toBeLessThan(400);
    expect(await counted(server, "n")).toBe(2);
  });

  it.each([
    Object.assign(new Error("LOADING Redis is loading the dataset in memory"), { name: "ReplyError" }),
    Object.assign(new Error("bad record mac"), { code: "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC" }),
    new NotSent("closing"),
  ])("leaves a write unknown that was under way when the connection ended, for whatever reason: %s", async (reason) => {
    await using server = await startRedis({ binary: binary() });
    using connection = new Scoped(server);
    await connection.run(increment("n"));
    const link = await connection.link();
    server.pause();
    const write = codeOf(connection.run(increment("n")));
    await new Promise((resolve) => setTimeout(resolve, 20));
    link.drop(reason);
    expect(await write).toBe("OUTCOME_UNKNOWN");
    server.resume();
    // It was carried out.
    expect(await connection.run(increment("n"))).toBe(3);
  });

  it("is as patient with a server that takes every connection and answers nothing useful", async () => {
    await using server = await startRedis({ binary: binary() });
    await using proxy = await startProxy(server.url);
    using connection = new Scoped(proxy);
    const until = performance.now() + 2_000;
    while (performance.now() < until) (await connection.link()).drop(new Error("of no use"));
    expect(proxy.accepted).toBeGreaterThan(2);
    expect(proxy.accepted).toBeLessThan(30);
  });

  it("leaves a silent server for a new connection within its patience, and repeats there what it may", async () => {
    await using server = await startRedis({ binary: binary() });
    await using proxy = await startProxy(server.url);
    using connection = new Scoped(proxy, { callTimeoutMs: 12_000 });
    await connection.run(increment("n"));
    proxy.blackHole();
    const write = timed(codeOf(connection.run(increment("n"))));
    const read = timed(
      connection.run({ ...increment("n", "read"), script: script("return redis.call('GET', KEYS[1])") }),
    );
    await eventually(() => proxy.accepted > 1);
    await proxy.heal();
    expect((await write).value).toBe("OUTCOME_UNKNOWN");
    expect((await write).tookMs).toBeGreaterThan(1_500);
    expect((await write).tookMs).toBeLessThan(3_500);
    expect(String((await read).value)).toBe("1");
    expect((await read).tookMs).toBeLessThan(8_000);
  });

  it("waits for a server that was asked to be silent for longer than its patience", async () => {
    await using server = await startRedis({ binary: binary() });
    await using proxy = await startProxy(server.url);
    using connection = new Scoped(proxy, { callTimeoutMs: 12_000 });
    const link = await connection.link();
    const nothing = await timed(link.send("XREAD", ["BLOCK", 3_500, "STREAMS", "s", "$"], 3_500));
    expect(nothing.value).toBe(null);
    expect(nothing.tookMs).toBeGreaterThan(3_400);
    expect(link.isOpen).toBe(true);
    expect(proxy.accepted).toBe(1);
  });

  it("finds a server that was killed and came back, with pauses that neither grow long nor hammer it", async () => {
    const sockets = new Set<Socket>();
    const rude = createServer((socket) => {
      sockets.add(socket.on("error", () => {}));
      socket.destroy();
    });
    const port = await listenAnywhere(rude);
    using connection = new Scoped({ url: `redis://127.0.0.1:${port}` });
    expect(await codeOf(connection.run(increment("n"), { timeoutMs: 3_000 }))).toBe("UNAVAILABLE");
    expect(sockets.size).toBeGreaterThan(3);
    expect(sockets.size).toBeLessThan(40);
    const before = sockets.size;
    const calls = Array.from({ length: 50 }, () => codeOf(connection.run(increment("n"), { timeoutMs: 2_000 })));
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["UNAVAILABLE"]));
    expect(sockets.size - before).toBeLessThan(30);
    rude.close();
    await once(rude, "close");
    const waiting = timed(connection.run(increment("n")));
    await using server = await startRedis({ binary: binary(), port });
    const upMs = performance.now();
    await waiting;
    expect(performance.now() - upMs).toBeLessThan(1_500);
    expect(await counted(server, "n")).toBe(1);
  });

  it("ends what waits as CLOSED, and takes nothing more", async () => {
    await using server = await startRedis({ binary: binary() });
    using connection = new Scoped(server);
    await connection.run(increment("n"));
    server.pause();
    const sent = [connection.run(increment("n")), connection.run(increment("n", "read"))].map(codeOf);
    connection.close();
    expect(await Promise.all(sent)).toEqual(["CLOSED", "CLOSED"]);
    expect(await codeOf(connection.run(increment("n")))).toBe("CLOSED");
    server.resume();
    await eventually(async () => (await server.info("clients"))["connected_clients"] === "1");
  });

  it("leaves no link behind when it is closed at the moment at which that is there", async () => {
    await using server = await startRedis({ binary: binary() });
    const closing = new AbortController();
    // Its timers are disposed of between the server's answer and whatever comes of that.
    const clock = {
      ...systemClock,
      after: () => ({ [Symbol.dispose]: () => closing.abort(new Error("closed just now")) }),
    };
    const route = new Route(settingsFrom({ url: server.url, clock }));
    await expect(route.open("calls", 1_000, closing.signal)).rejects.toThrow("closed just now");
    await eventually(async () => !String(await server.call("CLIENT", "LIST")).includes("name=conclave:calls"));
  });

  it("keeps no process alive once it is closed, whatever state it was in", async () => {
    await using server = await startRedis({ binary: binary() });
    await using proxy = await startProxy(server.url);
    await using child = runNode(new URL("./children/closes.ts", import.meta.url), { args: [proxy.url] });
    await child.next(({ said }) => said === "connected");
    proxy.blackHole();
    child.send({ go: true });
    await child.next(({ said }) => said === "closed");
    const exit = await timed(child.exited);
    expect(exit.value, child.output).toEqual({ code: 0, signal: null });
    expect(exit.tookMs).toBeLessThan(1_000);
    expect(child.output).toBe("");
  });

  it("reads no database but its own, and refuses one that the server does not have", async () => {
    await using server = await startRedis({ binary: binary() });
    await using first = await connectTo(server);
    await using second = await connectTo({ url: `${server.url}/1` });
    await first.kv.commit({ then: [put("a")] });
    expect(await second.kv.get("a")).toBe(undefined);
    // ioredis itself would go on, in database 0.
    expect(await codeOf(connectTo({ url: `${server.url}/99` }))).toBe("UNSUPPORTED");
  });

  it("is known to operators by its name and its purpose", async () => {
    await using server = await startRedis({ binary: binary() });
    await using backend = await connectTo(server);
    await using _watch = await backend.watches.watch({ prefix: "" });
    const lease = await backend.leases.grant({ ttlMs: 5_000 });
    await lease.revoke();
    await eventually(async () => {
      const clients = String(await server.call("CLIENT", "LIST"));
      for (const purpose of ["calls", "leases", "events"]) expect(clients).toContain(`name=conclave:${purpose} `);
    });
  });
});
