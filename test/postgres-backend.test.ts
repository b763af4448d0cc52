import { describePortContract } from "@conclave/conformance";
import { type Backend, decode, encode, isCoordinationError, type WatchBatch } from "@conclave/core/backend";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { postgres } from "../examples/backends/postgres/postgres.ts";
import { eventually } from "./harness/eventually.ts";
import { type Postgres, startPostgres } from "./harness/postgres-process.ts";
import { postgresBinaries, postgresServers } from "./harness/servers.ts";
import { startProxy, type TcpProxy } from "./harness/tcp-proxy.ts";

for (const place of postgresServers()) {
  describePortContract(place.name, async () => {
    const server = await place.open();
    const proxies = new Map<Backend, TcpProxy>();
    return {
      async connect() {
        const proxy = await startProxy(server.url);
        // A busy machine takes its time for hundreds of commits at once, which are made one after another.
        const backend = await postgres({ url: through(proxy, server.url), callTimeoutMs: 20_000 }).connect();
        const process: Backend = {
          ...backend,
          [Symbol.asyncDispose]() {
            const closing = backend[Symbol.asyncDispose]();
            // At once, since the suite starts more processes than there are ports.
            closing.then(
              () => proxy.stop(),
              () => {},
            );
            return closing;
          },
        };
        proxies.set(process, proxy);
        return process;
      },
      kill: async (backend) => proxies.get(backend)?.refuse(),
      timing: { ttlMs: 2_000, expiryLagMs: 500, watchDelayMs: 400 },
      async [Symbol.asyncDispose]() {
        for (const proxy of proxies.values()) await proxy.stop();
        await server[Symbol.asyncDispose]();
      },
    };
  });
}

/** The URL of a server, by way of a proxy. */
function through(proxy: TcpProxy, url: string): string {
  return Object.assign(new URL(url), { port: String(proxy.port) }).href;
}

const put = (key: string, text = "") => ({ then: [{ put: key, value: encode(text) }] });

/** How a call ended: "done", or the code it failed with. */
const outcomeOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => "done",
    (error: unknown) => (isCoordinationError(error) ? error.code : error),
  );

/** Speaks to the server past the backend, with its tables in sight. */
async function direct(url: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: url, options: "-c search_path=conclave" });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

/** Has the server itself make so many commits, which takes it a moment. */
async function commitMany(url: string, count: number): Promise<void> {
  await using client = await direct(url);
  const txn = JSON.stringify({ then: [{ put: "forgotten/key", value: "" }] });
  await client.query("select transact($1, true) from generate_series(1, $2)", [txn, count]);
}

describe.each(postgresBinaries())("the example on $name, when things break", ({ bin }) => {
  let server: Postgres;
  beforeAll(async () => {
    server = await startPostgres({ bin });
  });
  afterAll(() => server.stop());

  test("sends no commit twice whose answer was lost, and says that it does not know", { timeout: 60_000 }, async () => {
    await using proxy = await startProxy(server.url);
    await using backend = await postgres({ url: through(proxy, server.url) }).connect();
    for (let round = 0; round < 50; round++) {
      const lost = proxy.dropNextReply();
      expect(await outcomeOf(backend.kv.commit(put(`lost/${round}`)))).toBe("OUTCOME_UNKNOWN");
      await lost;
      const entry = await backend.kv.get(`lost/${round}`);
      expect(entry?.modified, "it was applied, and once").toBe(entry?.created);
      expect(entry).toBeDefined();
    }
  });

  test("tells the truth of commits that are cut off at any moment", { timeout: 60_000 }, async () => {
    await using proxy = await startProxy(server.url);
    await using backend = await postgres({ url: through(proxy, server.url) }).connect();
    await using other = await postgres({ url: server.url }).connect();
    const outcomes: unknown[] = [];
    for (let round = 0; round < 100; round++) {
      await backend.kv.get("warm");
      const commit = outcomeOf(backend.kv.commit(put(`cut/${round}`)));
      for (let turn = round % 10; turn > 0; turn--) await new Promise(setImmediate);
      proxy.cut();
      const outcome = await commit;
      outcomes.push(outcome);
      // Behind whatever the server may still be doing with the one that was cut off.
      await eventually(async () => (await other.kv.commit(put("fence"))).succeeded);
      const entry = await other.kv.get(`cut/${round}`);
      expect(entry?.modified, "it was applied at most once").toBe(entry?.created);
      if (outcome === "done") expect(entry).toBeDefined();
      else if (outcome === "UNAVAILABLE") expect(entry).toBeUndefined();
      else expect(outcome).toBe("OUTCOME_UNKNOWN");
    }
    expect(outcomes.filter((outcome) => outcome === "OUTCOME_UNKNOWN").length).toBeGreaterThan(10);
  });

  test("ends every call by its deadline when nothing answers, and leaves no connection behind", async () => {
    await using proxy = await startProxy(server.url);
    const backend = await postgres({ url: through(proxy, server.url) }).connect();
    const watch = await backend.watches.watch({ prefix: "silent/" });
    // One connection for each of the two, since a call that finds none was surely not sent.
    await Promise.all([backend.kv.get("a"), backend.kv.get("b")]);
    proxy.blackHole();
    const start = performance.now();
    const calls = [backend.kv.get("a", { timeoutMs: 500 }), backend.kv.commit(put("silent/a"), { timeoutMs: 500 })];
    expect(await Promise.all(calls.map(outcomeOf))).toEqual(["UNAVAILABLE", "OUTCOME_UNKNOWN"]);
    expect(performance.now() - start).toBeLessThan(2_000);
    const reading = outcomeOf(watch[Symbol.asyncIterator]().next());
    const late = [backend.kv.get("a"), backend.kv.commit(put("silent/b"))].map(outcomeOf);
    await backend[Symbol.asyncDispose]();
    expect([await reading, ...(await Promise.all(late))]).toEqual(["CLOSED", "CLOSED", expect.any(String)]);
    await proxy.heal();
    await eventually(() => proxy.connections === 0);
  });

  test("lets no commit wait for its turn for long after its caller gave up, nor others wait for it", async () => {
    await using backend = await postgres({ url: server.url, callTimeoutMs: 4_000 }).connect();
    await using holder = await direct(server.url);
    await holder.query("begin");
    await holder.query("select turn()");
    const waiting = "select from pg_stat_activity where wait_event = 'advisory'";
    const commits = Array.from({ length: 5 }, (_, index) =>
      backend.kv.commit(put(`late/${index}`), { timeoutMs: 300 }),
    );
    expect(new Set(await Promise.all(commits.map(outcomeOf)))).toEqual(new Set(["OUTCOME_UNKNOWN"]));
    expect(await backend.kv.get("late/0", { timeoutMs: 1_500 }), "on a connection of its own").toBeUndefined();
    expect((await holder.query(waiting)).rowCount, "they wait, each on a connection").toBe(5);
    await eventually(async () => (await holder.query(waiting)).rowCount === 0, { timeoutMs: 10_000 });
    await holder.query("commit");
    expect((await backend.kv.list("late/")).entries).toEqual([]);
  });

  test("ends a lease on time for those who only watch", async () => {
    await using backend = await postgres({ url: server.url, schema: "quiet" }).connect();
    await using watch = await backend.watches.watch({ key: "leased" });
    const lease = await backend.leases.grant({ ttlMs: 1_000 });
    const granted = performance.now();
    await backend.kv.commit({ then: [{ put: "leased", value: encode(""), lease }] });
    for await (const batch of watch) if (!("gap" in batch) && batch.changes[0]?.entry === undefined) break;
    const lastedMs = performance.now() - granted;
    expect(lastedMs).toBeGreaterThan(900);
    expect(lastedMs).toBeLessThan(1_000 + backend.guarantees.expiryLagMs);
  });

  test("keeps watches apart that are opened while another process writes", { timeout: 60_000 }, async () => {
    await using backend = await postgres({ url: server.url }).connect();
    await using writer = await postgres({ url: server.url }).connect();
    await using first = await backend.watches.watch({ prefix: "apart/" });
    let written = 0n;
    let count = 0;
    let isWriting = true;
    const writing = (async () => {
      for (; isWriting; count++) written = (await writer.kv.commit(put(`apart/${count}`))).revision;
    })();
    for (let round = 0; round < 100; round++) {
      const before = written;
      await using watch = await backend.watches.watch({ prefix: "apart/" });
      for await (const batch of watch) {
        expect("gap" in batch ? 0n : batch.revision, "nothing that was there before").toBeGreaterThan(before);
        break;
      }
    }
    isWriting = false;
    await writing;
    const shown: string[] = [];
    for await (const batch of first) {
      if (!("gap" in batch)) shown.push(...batch.changes.map(({ key }) => key));
      if (shown.at(-1) === `apart/${count - 1}`) break;
    }
    expect(shown).toEqual(Array.from({ length: count }, (_, index) => `apart/${index}`));
  });

  test("shows a gap where what was missed is forgotten, and then all that is new", { timeout: 60_000 }, async () => {
    await using proxy = await startProxy(server.url);
    await using backend = await postgres({ url: through(proxy, server.url), callTimeoutMs: 1_000 }).connect();
    await using other = await postgres({ url: server.url }).connect();
    await using watch = await backend.watches.watch({ prefix: "forgotten/" });
    await proxy.refuse();
    await commitMany(server.url, 1_150);
    await proxy.heal();
    const batches: WatchBatch[] = [];
    for await (const batch of watch) {
      batches.push(batch);
      if (!("gap" in batch)) break;
      await other.kv.commit(put("forgotten/key", "after"));
    }
    expect(batches).toMatchObject([{ gap: true }, { changes: [{ entry: { value: encode("after") } }] }]);
  });

  test("keeps what was acknowledged through a crash of the server, and watches go on", {
    timeout: 60_000,
  }, async () => {
    await using crashing = await startPostgres({ bin });
    await using backend = await postgres({ url: crashing.url }).connect();
    await using writer = await postgres({ url: crashing.url }).connect();
    const shown = new Set<string>();
    let gaps = 0;
    const watch = await backend.watches.watch({ prefix: "crash/" });
    const watching = (async () => {
      for await (const batch of watch) {
        if ("gap" in batch) gaps += 1;
        else for (const { entry } of batch.changes) if (entry) shown.add(decode(entry.value));
      }
    })();
    const acknowledged: string[] = [];
    let isWriting = true;
    const writing = (async () => {
      for (let round = 0; isWriting; round++) {
        const outcome = await outcomeOf(writer.kv.commit(put(`crash/${round}`, String(round))));
        if (outcome === "done") acknowledged.push(String(round));
        else expect(["OUTCOME_UNKNOWN", "UNAVAILABLE"]).toContain(outcome);
      }
    })();
    for (let crash = 1; crash <= 3; crash++) {
      const before = acknowledged.length;
      await eventually(() => acknowledged.length > before + 50);
      await crashing.kill();
      await crashing.restart();
    }
    const restarted = acknowledged.length;
    await eventually(() => acknowledged.length > restarted + 50);
    isWriting = false;
    await writing;
    const { entries } = await backend.kv.list("crash/");
    const there = new Set(entries.map(({ value }) => decode(value)));
    expect(acknowledged.filter((text) => !there.has(text))).toEqual([]);
    expect(acknowledged.length).toBeGreaterThan(200);
    if (gaps === 0) await eventually(() => [...there].every((text) => shown.has(text)));
    else await eventually(() => shown.has(acknowledged.at(-1) as string));
    await watch[Symbol.asyncDispose]();
    await watching;
  });

  test("lets any number of clients be the first, and a stranger in never", async () => {
    const connector = postgres({ url: server.url, schema: "first" });
    const backends = await Promise.all(Array.from({ length: 20 }, () => connector.connect()));
    await Promise.all(backends.map(({ kv }, index) => kv.commit(put(`first/${index}`))));
    expect((await (backends[0] as Backend).kv.list("first/")).entries).toHaveLength(20);
    for (const backend of backends) await backend[Symbol.asyncDispose]();
    const strangers = Object.assign(new URL(server.url), { username: "stranger" }).href;
    expect(await outcomeOf(postgres({ url: strangers }).connect())).toBe("DENIED");
  });
});
