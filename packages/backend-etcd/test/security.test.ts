import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { makeCertificates } from "../../../test/harness/certificates.ts";
import { enableAuth, startEtcd } from "../../../test/harness/etcd-process.ts";
import { eventually } from "../../../test/harness/eventually.ts";
import { etcdBinaries } from "../../../test/harness/servers.ts";
import { etcd } from "../src/index.ts";
import { codeOf, connectThrough, connectTo, put, Reading, takeOffline, timed, writeMany } from "./rig.ts";

const account = { username: "root", password: "canary-s3cret" };

describe.each(etcdBinaries())("etcd $version with passwords", ({ binary }) => {
  it("admits the right password, and calls others and none DENIED without repeating them", async () => {
    await using server = await startEtcd({ binary });
    await enableAuth(server, account);
    await using backend = await connectTo(server.endpoint, account);
    expect((await backend.kv.commit({ then: [put("k")] })).succeeded).toBe(true);
    const wrong = etcd({ endpoints: [server.endpoint], ...account, password: "canary-wrong" }).connect();
    const refused = await timed(wrong.catch((error: unknown) => error));
    expect(refused.value).toMatchObject({ code: "DENIED" });
    expect(refused.tookMs).toBeLessThan(1_000);
    expect(inspect(refused.value, { depth: 10 })).not.toContain("canary");
    // Newer servers turn a nobody away at the door, older ones from every room.
    const nobody = await connectTo(server.endpoint).catch((error: unknown) => error as { code: unknown });
    if ("code" in nobody) expect(nobody.code).toBe("DENIED");
    else {
      expect(await codeOf(nobody.kv.get("k"))).toBe("DENIED");
      expect(await codeOf(nobody.kv.commit({ then: [put("k")] }))).toBe("DENIED");
      expect(await codeOf(nobody.watches.watch({ prefix: "k" }))).toBe("DENIED");
      await nobody[Symbol.asyncDispose]();
    }
  });

  it("turned off takes a client that has a password", async () => {
    await using server = await startEtcd({ binary });
    await using backend = await connectTo(server.endpoint, account);
    expect((await backend.kv.commit({ then: [put("k")] })).succeeded).toBe(true);
  });

  it("that forgets its tokens costs calls, leases and watches nothing", async () => {
    await using server = await startEtcd({ binary });
    await enableAuth(server, account);
    await using rig = await connectThrough(server.endpoint, account);
    const lease = await rig.backend.leases.grant({ ttlMs: 60_000 });
    const reading = new Reading(await rig.backend.watches.watch({ prefix: "k/" }));
    await server.restart();
    await eventually(async () => expect(await codeOf(rig.backend.kv.get("k"))).toEqual({ resolved: undefined }));
    expect(await lease.keepAlive()).toBe(60_000);
    const written = await writeMany(rig.backend, "k/", 3);
    await reading.saw(written.at(-1) as string);
    expect(reading.keys).toEqual(written);
  });

  it("whose tokens expire lets a new watch onto an old stream, and an old watch onto a new one", {
    timeout: 30_000,
  }, async () => {
    await using server = await startEtcd({ binary, flags: ["--auth-token-ttl", "1"] });
    await enableAuth(server, account);
    await using rig = await connectThrough(server.endpoint, account);
    await using writer = await connectTo(server.endpoint, account);
    const first = new Reading(await rig.backend.watches.watch({ prefix: "k/" }));
    // Nothing of ours is sent meanwhile, so that nothing prolongs the token.
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    const second = await timed(rig.backend.watches.watch({ prefix: "k/" }));
    expect(second.tookMs).toBeLessThan(4_500);
    const siblings = [first, new Reading(second.value)];
    await takeOffline(rig);
    await writer.kv.commit({ then: [put("k/missed")] });
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    await rig.proxy.heal();
    for (const reading of siblings) {
      await reading.saw("k/missed", 10_000);
      expect(reading.log).toEqual(["k/missed"]);
    }
  });

  it("denies a watch outside one's rights, and grants the next within them at once", { timeout: 30_000 }, async () => {
    await using server = await startEtcd({ binary });
    await server.etcdctl("user", "add", "limited:limited");
    await server.etcdctl("role", "add", "mine");
    await server.etcdctl("role", "grant-permission", "mine", "--prefix=true", "readwrite", "mine/");
    await server.etcdctl("user", "grant-role", "limited", "mine");
    await enableAuth(server, account);
    await using backend = await connectTo(server.endpoint, { username: "limited", password: "limited" });
    const before = new Reading(await backend.watches.watch({ prefix: "mine/" }));
    expect(await codeOf(backend.watches.watch({ prefix: "yours/" }))).toBe("DENIED");
    const after = await timed(backend.watches.watch({ prefix: "mine/" }));
    expect(after.tookMs).toBeLessThan(4_500);
    const reading = new Reading(after.value);
    await backend.kv.commit({ then: [put("mine/k")] });
    await reading.saw("mine/k");
    await before.saw("mine/k");
    expect(await codeOf(backend.kv.commit({ then: [put("yours/k")] }))).toBe("DENIED");
    expect(await codeOf(backend.kv.list("yours/"))).toBe("DENIED");
    expect((await backend.kv.list("mine/", { startAfter: "mine/z" })).entries).toEqual([]);
    expect((await backend.kv.list("mine/", { startAfter: "z" })).entries).toEqual([]);
  });
});

describe.each(etcdBinaries())("etcd $version with certificates", ({ binary }) => {
  it("is trusted through its authority, under its name, and not otherwise", async () => {
    using certificates = makeCertificates();
    using strangers = makeCertificates();
    await using server = await startEtcd({ binary, tls: certificates });
    const endpoints = [server.endpoint];
    const { ca } = certificates;
    await using backend = await etcd({ endpoints, tls: { ca } }).connect();
    expect((await backend.kv.commit({ then: [put("k")] })).succeeded).toBe(true);
    await using named = await etcd({ endpoints, tls: { ca: String(ca), serverName: "localhost" } }).connect();
    expect((await named.kv.get("k"))?.key).toBe("k");
    for (const tls of [{}, { ca: strangers.ca }, { ca, serverName: "elsewhere.example" }]) {
      const refused = await timed(codeOf(etcd({ endpoints, tls }).connect()));
      expect(refused.value).toBe("DENIED");
      expect(refused.tookMs).toBeLessThan(2_000);
    }
    const inTheClear = connectTo(server.endpoint.replace("https", "http"), { connectTimeoutMs: 1_000 });
    expect(await codeOf(inTheClear)).toBe("UNAVAILABLE");
  });

  it("may ask for ours, which must be the right one", async () => {
    using certificates = makeCertificates();
    using strangers = makeCertificates();
    await using server = await startEtcd({ binary, tls: { ...certificates, clientCertificates: true } });
    const endpoints = [server.endpoint];
    const { ca, client } = certificates;
    const asText = { ca: String(ca), cert: String(client.cert), key: String(client.key) };
    await using backend = await etcd({ endpoints, tls: asText }).connect();
    const lease = await backend.leases.grant({ ttlMs: 5_000 });
    expect(await lease.keepAlive()).toBe(5_000);
    const { cert, key } = strangers.client;
    const options = { endpoints, connectTimeoutMs: 1_500 };
    expect(await codeOf(etcd({ ...options, tls: { ca } }).connect())).toBeOneOf(["DENIED", "UNAVAILABLE"]);
    expect(await codeOf(etcd({ ...options, tls: { ca, cert, key } }).connect())).toBeOneOf(["DENIED", "UNAVAILABLE"]);
  });
});
