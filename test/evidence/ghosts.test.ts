import { setTimeout as sleep } from "node:timers/promises";
import { etcd } from "@conclave/backend-etcd";
import { connect } from "@conclave/core";
import { describe, expect, test } from "vitest";
import { eventually } from "../harness/eventually.ts";
import { etcdServers } from "../harness/servers.ts";
import { startProxy } from "../harness/tcp-proxy.ts";

const ttlMs = 3_000;

describe.each(etcdServers())("on $name", ({ endpoint }) => {
  const direct = () => connect(etcd({ endpoints: [endpoint] }), { ttlMs, namespace: "ghosts" });

  test("a waiter whose own session dies rejects within a second of the loss", async () => {
    await using holder = await direct();
    await using proxy = await startProxy(endpoint);
    await using waiter = await connect(etcd({ endpoints: [proxy.url] }), { ttlMs, namespace: "ghosts" });
    await using _ = await holder.mutex("own-death").acquire();
    const waiting = waiter.mutex("own-death").acquire();
    waiting.catch(() => {});
    const candidacy = waiter.election("own-death").campaign();
    candidacy.catch(() => {});
    await eventually(async () => (await holder.mutex("own-death").queue()).length === 2);
    const session = await waiter.session();
    let lostAt = Number.NaN;
    session.signal.addEventListener("abort", () => {
      lostAt = performance.now();
    });
    proxy.blackHole();
    await expect(waiting).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(performance.now() - lostAt).toBeLessThan(1_000);
  });

  test("an aborted waiter rejects at once, leaves no key and does not stop the one behind it", async () => {
    await using holder = await direct();
    await using second = await direct();
    await using third = await direct();
    const lock = "abort-in-the-middle";
    const held = await holder.mutex(lock).acquire();
    const abort = new AbortController();
    const aborted = second.mutex(lock).acquire({ signal: abort.signal });
    aborted.catch(() => {});
    await eventually(async () => (await holder.mutex(lock).queue()).length === 2);
    const behind = third.mutex(lock).acquire();
    await eventually(async () => (await holder.mutex(lock).queue()).length === 3);
    const abortedAt = performance.now();
    abort.abort(new Error("no longer wanted"));
    await expect(aborted).rejects.toThrow("no longer wanted");
    expect(performance.now() - abortedAt).toBeLessThan(200);
    await eventually(async () => (await holder.mutex(lock).queue()).length === 2);
    await held.release();
    const next = await behind;
    expect(next.isHeld()).toBe(true);
    expect(next.token).toBeGreaterThan(held.token);
    expect(await holder.mutex(lock).queue()).toHaveLength(1);
  });

  test("a waiter cut off while it waits, and then aborted, leaves no key behind for longer than its lease", async () => {
    await using holder = await direct();
    await using proxy = await startProxy(endpoint);
    await using waiter = await connect(etcd({ endpoints: [proxy.url] }), { ttlMs, namespace: "ghosts" });
    const lock = "aborted-while-cut-off";
    await using _ = await holder.mutex(lock).acquire();
    const abort = new AbortController();
    const waiting = waiter.mutex(lock).acquire({ signal: abort.signal });
    waiting.catch(() => {});
    await eventually(async () => (await holder.mutex(lock).queue()).length === 2);
    proxy.blackHole();
    await sleep(100);
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
    await eventually(async () => (await holder.mutex(lock).queue()).length === 1, { timeoutMs: 2 * ttlMs + 2_000 });
  });
});
