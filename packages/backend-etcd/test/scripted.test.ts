import { describe, expect, it } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { etcd } from "../src/index.ts";
import { header, putEvent, Refusal, startFakeEtcd, type WatchStream } from "./fake-etcd.ts";
import { codeOf, connectTo, put, Reading, timed } from "./rig.ts";

/** A stream that grants every watch, from revision 10. */
function granting(stream: WatchStream, starts: string[] = []): void {
  let nextId = 0;
  stream.on("data", ({ create_request, progress_request }) => {
    if (create_request) {
      starts.push(String(create_request.start_revision));
      stream.write({ header: header(10), watch_id: String(nextId++), created: true });
    }
    if (progress_request) stream.write({ header: header(99), watch_id: "-1" });
  });
}

const events = (id: string, ...revisions: number[]) => ({
  header: header(1_000),
  watch_id: id,
  events: revisions.map((revision) => putEvent(`k/${revision}`, revision)),
});

describe("a server that refuses to create a watch", () => {
  it.each(["0", "-1"])("and answers with watch id %s fails that watch alone", async (failedId) => {
    await using server = await startFakeEtcd({
      watch(stream) {
        let ids = 0;
        stream.on("data", ({ create_request }) => {
          if (!create_request) return;
          const denied = String(create_request.key) === "denied";
          stream.write({
            header: header(10),
            watch_id: denied ? failedId : String(ids++),
            created: true,
            canceled: denied,
            cancel_reason: denied ? "etcdserver: permission denied" : "",
          });
          const event = putEvent(String(create_request.key), 11);
          if (!denied) stream.write({ header: header(11), watch_id: String(ids - 1), events: [event] });
        });
      },
    });
    await using backend = await connectTo(server.endpoint);
    const [denied, first, last] = await Promise.all([
      codeOf(backend.watches.watch({ key: "denied" })),
      backend.watches.watch({ key: "first" }),
      backend.watches.watch({ key: "last" }),
    ]);
    expect(denied).toBe("DENIED");
    const readings = [new Reading(first), new Reading(last)];
    await eventually(() => expect(readings.map(({ keys }) => keys)).toEqual([["first"], ["last"]]));
    const next = await timed(backend.watches.watch({ key: "next" }));
    expect(next.tookMs).toBeLessThan(1_000);
  });

  it("and then answers nothing more on the stream costs the next watch a few seconds", {
    timeout: 20_000,
  }, async () => {
    await using server = await startFakeEtcd({
      watch(stream) {
        let denied = false;
        stream.on("data", ({ create_request }) => {
          if (!create_request || denied) return;
          denied = String(create_request.key) === "denied";
          stream.write({
            header: header(10),
            watch_id: denied ? "-1" : "0",
            created: true,
            canceled: denied,
            cancel_reason: denied ? "etcdserver: permission denied" : "",
          });
        });
      },
    });
    await using backend = await connectTo(server.endpoint);
    expect(await codeOf(backend.watches.watch({ key: "denied" }))).toBe("DENIED");
    const next = await timed(backend.watches.watch({ key: "fine" }));
    expect(next.tookMs).toBeLessThan(4_900);
  });
});

describe("a watch stream", () => {
  it("takes news of nobody for nothing: signs of life, unknown watches, events after a cancel", async () => {
    let stream: WatchStream | undefined;
    await using server = await startFakeEtcd({
      watch(opened) {
        stream = opened;
        granting(opened);
      },
    });
    await using backend = await connectTo(server.endpoint);
    const gone = await backend.watches.watch({ prefix: "k/" });
    const reading = new Reading(await backend.watches.watch({ prefix: "k/" }));
    await gone[Symbol.asyncDispose]();
    stream?.write({ header: header(99), watch_id: "-1" });
    stream?.write(events("77", 11));
    stream?.write({ header: header(99), watch_id: "78", canceled: true });
    stream?.write(events("0", 12));
    stream?.write(events("1", 13));
    await reading.saw("k/13");
    expect(reading.keys).toEqual(["k/13"]);
  });

  it("resumes after the last event it handed over, whatever revisions the headers named", async () => {
    const starts: string[] = [];
    await using server = await startFakeEtcd({
      watch(stream, nth) {
        granting(stream, starts);
        stream.on("data", ({ create_request }) => {
          if (!create_request || nth > 1) return;
          stream.write({ header: header(500), watch_id: "-1" });
          stream.write(events("0", 11, 12, 13));
          setImmediate(() => stream.emit("error", new Refusal(14, "etcdserver: no leader")));
        });
      },
    });
    await using backend = await connectTo(server.endpoint);
    const reading = new Reading(await backend.watches.watch({ prefix: "k/" }));
    await eventually(() => expect(starts).toEqual(["0", "14"]));
    expect(reading.keys).toEqual(["k/11", "k/12", "k/13"]);
  });

  it("is moved on, while idle, by the progress that the server reports for that watch", async () => {
    const starts: string[] = [];
    await using server = await startFakeEtcd({
      watch(stream, nth) {
        granting(stream, starts);
        stream.on("data", ({ create_request }) => {
          if (!create_request || nth > 1) return;
          stream.write({ header: header(500), watch_id: "0" });
          setTimeout(() => stream.end(), 50);
        });
      },
    });
    await using backend = await connectTo(server.endpoint);
    await backend.watches.watch({ prefix: "k/" });
    await eventually(() => expect(starts).toEqual(["0", "501"]));
  });

  it("drops what the server repeats, and what goes back in time", async () => {
    await using server = await startFakeEtcd({
      watch(stream) {
        granting(stream);
        stream.on("data", ({ create_request }) => {
          if (!create_request) return;
          stream.write(events("0", 3, 11, 12));
          stream.write(events("0", 11, 12, 13));
          stream.write(events("0", 5));
          stream.write(events("0", 14));
        });
      },
    });
    await using backend = await connectTo(server.endpoint);
    const reading = new Reading(await backend.watches.watch({ prefix: "k/" }));
    await reading.saw("k/14");
    expect(reading.keys).toEqual(["k/11", "k/12", "k/13", "k/14"]);
  });

  it("hands over a revision when all its fragments are there, and asks for it again when they are not", async () => {
    const starts: string[] = [];
    const part = (fragment: boolean, ...of: [string, number][]) => ({
      header: header(1_000),
      watch_id: "0",
      fragment,
      events: of.map(([key, revision]) => putEvent(key, revision)),
    });
    await using server = await startFakeEtcd({
      watch(stream, nth) {
        granting(stream, starts);
        stream.on("data", ({ create_request }) => {
          if (!create_request) return;
          if (nth === 1) {
            stream.write(part(true, ["a", 11], ["b", 11], ["a", 12]));
            setTimeout(() => stream.emit("error", new Refusal(14, "gone")), 50);
          } else {
            stream.write(part(true, ["a", 12]));
            stream.write(part(false, ["b", 12], ["c", 13]));
          }
        });
      },
    });
    await using backend = await connectTo(server.endpoint);
    const reading = new Reading(await backend.watches.watch({ prefix: "" }));
    await reading.saw("c");
    expect(reading.log).toEqual(["a,b", "a,b", "c"]);
    expect(starts).toEqual(["0", "12"]);
  });

  it("that was given up disturbs its successor no more", { timeout: 20_000 }, async () => {
    const streams: WatchStream[] = [];
    await using server = await startFakeEtcd({
      watch(stream) {
        // The first says nothing; only the second works.
        if (streams.push(stream) > 1) granting(stream);
      },
    });
    await using backend = await connectTo(server.endpoint);
    const reading = new Reading(await backend.watches.watch({ prefix: "k/" }));
    streams[0]?.write(events("0", 11));
    streams[0]?.emit("error", new Refusal(14, "too late"));
    streams[1]?.write(events("0", 12));
    await reading.saw("k/12");
    await codeOf(backend.kv.get("any", { timeoutMs: 300 }));
    expect(reading.keys).toEqual(["k/12"]);
    expect(streams.length).toBe(2);
  });

  it("asks that a member without a leader should not stay silent", async () => {
    const asked: (readonly string[])[] = [];
    await using server = await startFakeEtcd({
      watch(stream, nth) {
        asked.push(stream.metadata.get("hasleader"));
        if (nth === 1) stream.emit("error", new Refusal(14, "etcdserver: no leader"));
        else granting(stream);
      },
    });
    await using backend = await connectTo(server.endpoint);
    await backend.watches.watch({ prefix: "k/" });
    expect(asked).toEqual([["true"], ["true"]]);
  });

  it("that is idle is asked for signs of life, and left alone while it gives them", { timeout: 20_000 }, async () => {
    let [streams, asked] = [0, 0];
    await using server = await startFakeEtcd({
      watch(stream) {
        streams++;
        granting(stream);
        stream.on("data", ({ progress_request }) => {
          if (progress_request) asked++;
        });
      },
    });
    await using backend = await connectTo(server.endpoint);
    await using _watch = await backend.watches.watch({ prefix: "k/" });
    await eventually(() => expect(asked).toBe(2), { timeoutMs: 10_000 });
    expect(streams).toBe(1);
  });

  it("that ends well is opened again", async () => {
    await using server = await startFakeEtcd({
      watch(stream, nth) {
        granting(stream);
        if (nth < 3) setTimeout(() => stream.end(), 30);
        else setTimeout(() => stream.write(events("0", 20)), 30);
      },
    });
    await using backend = await connectTo(server.endpoint);
    const reading = new Reading(await backend.watches.watch({ prefix: "k/" }));
    await reading.saw("k/20");
  });

  it("that the server refuses altogether fails its watches with the server's reason", async () => {
    await using server = await startFakeEtcd({
      watch: (stream) => void stream.emit("error", new Refusal(12, "not here")),
    });
    await using backend = await connectTo(server.endpoint);
    expect(await codeOf(backend.watches.watch({ prefix: "k/" }))).toBe("UNSUPPORTED");
  });
});

describe("the stream of a slow reader", () => {
  it("is closed when the server refuses the only watch on it", async () => {
    const ended: number[] = [];
    let left = false;
    await using server = await startFakeEtcd({
      watch(stream, nth) {
        stream.on("cancelled", () => ended.push(nth));
        stream.on("data", ({ create_request, cancel_request }) => {
          left ||= Boolean(cancel_request);
          if (!create_request) return;
          const canceled = nth > 1;
          const cancel_reason = canceled ? "not any more" : "";
          stream.write({ header: header(10), watch_id: "0", created: true, canceled, cancel_reason });
          if (canceled) return;
          stream.write(events("0", ...Array.from({ length: 3_000 }, (_, index) => 11 + index)));
          stream.write(events("0", 4_000));
        });
      },
    });
    await using backend = await connectTo(server.endpoint);
    const watch = await backend.watches.watch({ prefix: "k/" });
    await eventually(() => left);
    const reading = new Reading(watch);
    await reading.done;
    expect(reading.failure).toMatchObject({ code: "UNAVAILABLE" });
    await eventually(() => expect(ended).toEqual([2]));
  });
});

describe("a keep-alive stream", () => {
  it("that ends well after every answer costs no renewal", async () => {
    let streams = 0;
    await using server = await startFakeEtcd({
      lease: { LeaseGrant: ({ ID }: { ID: string }) => ({ header: header(), ID, TTL: "3" }) },
      keepAlive(stream) {
        streams++;
        stream.on("data", ({ ID }) => {
          stream.write({ ID, TTL: "3" });
          stream.end();
        });
      },
    });
    await using backend = await connectTo(server.endpoint);
    const lease = await backend.leases.grant({ ttlMs: 3_000 });
    const start = performance.now();
    for (let round = 0; round < 5; round++) expect(await lease.keepAlive({ timeoutMs: 1_000 })).toBe(3_000);
    expect(streams).toBe(5);
    expect(performance.now() - start).toBeLessThan(1_500);
  });

  it("that leaves a renewal unanswered for a quarter of the lease's life is replaced, and heard no more", async () => {
    const streams: Parameters<NonNullable<Parameters<typeof startFakeEtcd>[0]["keepAlive"]>>[0][] = [];
    await using server = await startFakeEtcd({
      lease: { LeaseGrant: ({ ID }: { ID: string }) => ({ header: header(), ID, TTL: "2" }) },
      keepAlive(stream) {
        if (streams.push(stream) > 1) stream.on("data", ({ ID }) => stream.write({ ID, TTL: "2" }));
      },
    });
    await using backend = await connectTo(server.endpoint);
    const lease = await backend.leases.grant({ ttlMs: 2_000 });
    const renewal = await timed(lease.keepAlive());
    expect(renewal.value).toBe(2_000);
    expect(renewal.tookMs).toBeLessThan(1_200);
    streams[0]?.emit("error", new Refusal(14, "too late"));
    for (let round = 0; round < 3; round++) expect(await lease.keepAlive({ timeoutMs: 400 })).toBe(2_000);
    expect(streams.length).toBe(2);
  });

  it("that answers out of turn is not believed", async () => {
    let streams = 0;
    await using server = await startFakeEtcd({
      lease: { LeaseGrant: ({ ID }: { ID: string }) => ({ header: header(), ID, TTL: "5" }) },
      keepAlive(stream) {
        const honest = ++streams > 1;
        stream.on("data", ({ ID }) => stream.write(honest ? { ID, TTL: "5" } : { ID: "4711", TTL: "999" }));
      },
    });
    await using backend = await connectTo(server.endpoint);
    const lease = await backend.leases.grant({ ttlMs: 5_000 });
    expect(await lease.keepAlive()).toBe(5_000);
    expect(streams).toBe(2);
  });

  it("answers that the lease is gone, and stays open for the others", async () => {
    let streams = 0;
    await using server = await startFakeEtcd({
      lease: { LeaseGrant: ({ ID }: { ID: string }) => ({ header: header(), ID, TTL: "5" }) },
      keepAlive(stream) {
        streams++;
        let answers = 0;
        stream.on("data", ({ ID }) => stream.write({ ID, TTL: ++answers === 2 ? "0" : "5" }));
      },
    });
    await using backend = await connectTo(server.endpoint);
    const lease = await backend.leases.grant({ ttlMs: 5_000 });
    const answers = [await codeOf(lease.keepAlive()), await codeOf(lease.keepAlive()), await codeOf(lease.keepAlive())];
    expect(answers).toEqual([{ resolved: 5_000 }, "LEASE_LOST", { resolved: 5_000 }]);
    expect(streams).toBe(1);
  });
});

describe("a login", () => {
  const account = { username: "root", password: "s3cret" };

  it("is renewed once for all the calls that find it has expired", async () => {
    let logins = 0;
    await using server = await startFakeEtcd({
      auth: { Authenticate: () => ({ header: header(), token: `token ${++logins}` }) },
      kv: {
        Range(_request, token) {
          if (token === "token 1") throw new Refusal(16, "etcdserver: invalid auth token");
          return { header: header(5), kvs: [] };
        },
      },
    });
    await using backend = await connectTo(server.endpoint, account);
    await Promise.all(Array.from({ length: 50 }, (_, index) => backend.kv.get(`k/${index}`)));
    expect(logins).toBe(2);
  });

  it("that got no answer is asked for again while the call has time", async () => {
    let logins = 0;
    await using server = await startFakeEtcd({
      auth: {
        Authenticate: () => (++logins === 2 ? new Promise(() => {}) : { header: header(), token: `token ${logins}` }),
      },
      kv: {
        Range(_request, token) {
          if (token === "token 1") throw new Refusal(16, "etcdserver: invalid auth token");
          return { header: header(5), kvs: [] };
        },
      },
    });
    await using backend = await connectTo(server.endpoint, { ...account, callTimeoutMs: 300 });
    expect(await backend.kv.get("k", { timeoutMs: 5_000 })).toBeUndefined();
    expect(logins).toBe(3);
  });

  it("that stays refused is DENIED, not asked for ever", async () => {
    let logins = 0;
    await using server = await startFakeEtcd({
      auth: { Authenticate: () => ({ header: header(), token: `token ${++logins}` }) },
      kv: {
        Range() {
          throw new Refusal(3, "etcdserver: revision of auth store is old");
        },
      },
    });
    await using backend = await connectTo(server.endpoint, account);
    expect(await codeOf(backend.kv.get("k"))).toBe("DENIED");
    expect(logins).toBeLessThan(5);
  });

  it("is renewed when a watch is refused because of it, on a new stream", async () => {
    let logins = 0;
    await using server = await startFakeEtcd({
      auth: { Authenticate: () => ({ header: header(), token: `token ${++logins}` }) },
      watch(stream) {
        if (stream.metadata.get("token")[0] === "token 2") granting(stream);
        else
          stream.on("data", () =>
            stream.write({
              header: header(1),
              watch_id: "-1",
              created: true,
              canceled: true,
              cancel_reason: "etcdserver: invalid auth token",
            }),
          );
      },
    });
    await using backend = await connectTo(server.endpoint, account);
    const watch = await timed(backend.watches.watch({ prefix: "k/" }));
    expect(watch.tookMs).toBeLessThan(1_000);
    expect(logins).toBe(2);
  });
});

describe("a listing", () => {
  it("starts over when the revision of its first page is compacted before the last is read", async () => {
    let pinned = 0;
    const kv = (key: string) => putEvent(key, 7).kv;
    await using server = await startFakeEtcd({
      kv: {
        Range({ revision, key }: { revision: string; key: Buffer }) {
          if (revision === "0") return { header: header(8 + pinned), kvs: [kv("k/a")], more: true };
          if (++pinned === 1) throw new Refusal(11, "etcdserver: mvcc: required revision has been compacted");
          expect(String(key)).toBe("k/a\0");
          expect(revision).toBe("9");
          return { header: header(12), kvs: [kv("k/b")], more: false };
        },
      },
    });
    await using backend = await connectTo(server.endpoint);
    const listing = await backend.kv.list("k/");
    expect(listing).toMatchObject({ revision: 9n, more: false });
    expect(listing.entries.map(({ key }) => key)).toEqual(["k/a", "k/b"]);
  });

  it("never shows a state older than one seen before", async () => {
    let reads = 0;
    await using server = await startFakeEtcd({
      kv: {
        Txn: () => ({ header: header(50), succeeded: true, responses: [{ response_put: {} }] }),
        Range: () => ({ header: header(++reads < 3 ? 49 : 50), kvs: [] }),
      },
    });
    await using backend = await connectTo(server.endpoint);
    await backend.kv.commit({ then: [put("k")] });
    expect((await backend.kv.list("k")).revision).toBe(50n);
    expect(reads).toBe(3);
  });
});

describe("a transaction whose list cuts through what one revision made", () => {
  const kvs = ["k/b", "k/a"].map((key) => putEvent(key, 7).kv);
  const list = { list: "k/", order: "oldest", limit: 1 } as const;
  const response_range = { kvs, more: true };
  const compacted = new Refusal(11, "etcdserver: mvcc: required revision has been compacted");

  it("keeps its deadline, however many of its lists are read again", async () => {
    await using server = await startFakeEtcd({
      kv: {
        Txn: () => ({
          header: header(8),
          succeeded: true,
          responses: [{ response_put: {} }, ...Array.from({ length: 3 }, () => ({ response_range }))],
        }),
        Range: () => new Promise(() => {}),
      },
    });
    await using backend = await connectTo(server.endpoint);
    const commit = await timed(backend.kv.commit({ then: [put("x"), list, list, list] }, { timeoutMs: 400 }));
    expect(commit.value.succeeded).toBe(true);
    expect(commit.tookMs).toBeLessThan(750);
  });

  it("starts over when that is compacted before it is read again, unless it has written", async () => {
    let [txns, ranges] = [0, 0];
    await using server = await startFakeEtcd({
      kv: {
        Txn: ({ success }: { success: unknown[] }) => ({
          header: header(8 + ++txns),
          succeeded: true,
          responses: success.length > 1 ? [{ response_put: {} }, { response_range }] : [{ response_range }],
        }),
        Range() {
          if (++ranges !== 2) throw compacted;
          return { header: header(20), kvs };
        },
      },
    });
    await using backend = await connectTo(server.endpoint);
    const read = await backend.kv.commit({ then: [list] });
    expect(read).toMatchObject({ revision: 10n, results: [{ revision: 10n, entries: [{ key: "k/a" }] }] });
    expect((await backend.kv.commit({ then: [put("x"), list] })).succeeded).toBe(true);
    expect([txns, ranges]).toEqual([3, 3]);
  });
});

describe("a server's version", () => {
  it("older than 3.4 is UNSUPPORTED", async () => {
    await using server = await startFakeEtcd({ version: "3.3.27" });
    expect(await codeOf(connectTo(server.endpoint))).toBe("UNSUPPORTED");
  });

  it.each([
    ["3.4.44", 1],
    ["3.5.29", 1],
    ["3.5.30", 0],
    ["3.6.10", 1],
    ["3.6.11", 0],
    ["3.7.0-rc.0", 0],
    ["4.0.0", 0],
  ])("%s earns %i warnings", async (version, expected) => {
    const warnings: string[] = [];
    await using server = await startFakeEtcd({ version });
    await using _backend = await etcd({ endpoints: [server.endpoint] }).connect({
      onWarning: (text) => warnings.push(text),
    });
    expect(warnings.length).toBe(expected);
  });
});
