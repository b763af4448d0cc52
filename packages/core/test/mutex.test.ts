import { type Conclave, connect, tokenOf } from "@conclave/core";
import { sleep, type Txn } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { deletes, failure, keys, losingAnswers, outcome, put, puts, remove, type World, world } from "./kit.ts";

const ttlMs = 9_000;
const intervalMs = ttlMs / 3;

async function connected(): Promise<World & { conclave: Conclave; neighbour: Conclave }> {
  const here = await world();
  const conclave = await connect(here.backend, { ttlMs });
  const neighbour = await connect(here.other, { ttlMs });
  await conclave.session();
  return { ...here, conclave, neighbour };
}

describe("a mutex whose commit's answer is lost", () => {
  test.each(["acquire", "tryAcquire"] as const)(
    "is held by %s once, on one key, with that key's token",
    async (way) => {
      const { clock, backend, other, conclave } = await connected();
      backend.fault = losingAnswers(puts, 3);
      const acquiring = outcome(conclave.mutex("a")[way]());
      await clock.advance(2_000);
      const [entry, ...others] = (await other.kv.list("")).entries;
      expect(others).toEqual([]);
      expect(acquiring.value).toMatchObject({ key: entry?.key, token: tokenOf(entry?.created as bigint) });
      expect(acquiring.value?.isHeld()).toBe(true);
      await acquiring.value?.release();
      expect(await keys(other)).toEqual([]);
    },
  );

  test("waits its turn if another was first", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const first = await neighbour.mutex("a").acquire();
    backend.fault = losingAnswers(puts);
    const acquiring = outcome(conclave.mutex("a").acquire());
    await clock.advance(1_000);
    expect(acquiring.settled).toBe(false);
    await first.release();
    await clock.advance(0);
    expect(acquiring.value?.token).toBeGreaterThan(first.token);
  });

  test("leaves no key when the wait is then aborted", async () => {
    const { clock, client, backend, other, conclave } = await connected();
    const controller = new AbortController();
    backend.fault = async (call, proceed) => {
      if (!puts(call)) return proceed();
      await proceed();
      client.disconnect();
      throw failure("OUTCOME_UNKNOWN");
    };
    const acquiring = outcome(conclave.mutex("a").acquire({ signal: controller.signal }));
    await clock.advance(10);
    controller.abort("enough");
    await clock.advance(0);
    expect(acquiring.error).toBe("enough");
    expect(await keys(other)).toHaveLength(1);
    backend.fault = (_, proceed) => proceed();
    client.reconnect();
    await clock.advance(intervalMs);
    expect(await keys(other)).toEqual([]);
  });

  test.each(["acquire", "tryAcquire", "aborted"] as const)(
    "leaves no key when what was sent first arrives last (%s)",
    async (way) => {
      const { clock, client, backend, conclave, neighbour } = await connected();
      const late: (() => Promise<unknown>)[] = [];
      // The first two sendings go astray, and arrive long after the third was answered.
      backend.fault = async (call, proceed) => {
        if (!puts(call) || (late.length >= 2 && way !== "aborted")) return proceed();
        late.push(() => client.kv.commit(call.argument as Txn));
        throw failure("OUTCOME_UNKNOWN");
      };
      const controller = new AbortController();
      const busy = way === "tryAcquire" && (await neighbour.mutex("a").acquire());
      const trying = way === "tryAcquire" ? conclave.mutex("a").tryAcquire() : undefined;
      const acquiring = outcome(trying ?? conclave.mutex("a").acquire({ signal: controller.signal }));
      await clock.advance(500);
      controller.abort("enough");
      if (busy) expect(acquiring).toEqual({ value: undefined, settled: true });
      if (busy) await busy.release();
      await acquiring.value?.release();
      await late[0]?.();
      await clock.advance(intervalMs);
      await late[1]?.();
      await clock.advance(intervalMs);
      expect(await neighbour.mutex("a").tryAcquire()).toBeDefined();
    },
  );
});

describe("releasing a mutex", () => {
  test("resolves while the store is away, and frees it once the store is back", async () => {
    const { clock, client, conclave, neighbour } = await connected();
    const hold = await conclave.mutex("a").acquire();
    const next = outcome(neighbour.mutex("a").acquire());
    client.disconnect();
    await hold.release();
    expect([hold.isHeld(), hold.signal.aborted]).toEqual([false, false]);
    await clock.advance(1_000);
    expect(next.settled).toBe(false);
    client.reconnect();
    await clock.advance(intervalMs);
    expect(next.value?.isHeld()).toBe(true);
  });

  test("whose answer is lost does not free another's", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const hold = await conclave.mutex("a").acquire();
    backend.fault = losingAnswers(deletes);
    await hold.release();
    const next = await neighbour.mutex("a").acquire();
    await clock.advance(3 * ttlMs);
    expect([next.isHeld(), await neighbour.mutex("a").queue()]).toMatchObject([true, [{ token: next.token }]]);
  });

  test("twice resolves for both when it is free", async () => {
    const { clock, backend, other, conclave } = await connected();
    const hold = await conclave.mutex("a").acquire();
    backend.fault = async (call, proceed) => {
      if (deletes(call)) await new Promise<void>((resolve) => void clock.after(500, resolve));
      return proceed();
    };
    void hold.release();
    const second = outcome(hold.release());
    await clock.advance(499);
    expect(second.settled).toBe(false);
    await clock.advance(1);
    expect([second.settled, await keys(other)]).toEqual([true, []]);
    expect(backend.calls.filter(deletes)).toHaveLength(1);
  });
});

describe("waiting for a mutex", () => {
  test("ends with LEASE_LOST as soon as the place in line is gone, or the session", async () => {
    for (const loss of ["key", "session"]) {
      const { clock, client, other, conclave, neighbour } = await connected();
      await neighbour.mutex("a").acquire();
      const acquiring = outcome(conclave.mutex("a").acquire());
      await clock.advance(10);
      const [, own] = await neighbour.mutex("a").queue();
      if (loss === "key") await remove(other, own?.key as string);
      else client.disconnect();
      await clock.advance(loss === "key" ? 0 : ttlMs);
      expect(acquiring.error).toMatchObject({ code: "LEASE_LOST" });
      client.reconnect();
      await clock.advance(3 * ttlMs);
      expect(await neighbour.mutex("a").queue()).toHaveLength(1);
    }
  });

  test("in the middle of a line, given up, disturbs nobody", async () => {
    const { clock, backend, store, conclave, neighbour } = await connected();
    const third = await connect(await store.connect(), { ttlMs });
    const first = await neighbour.mutex("a").acquire();
    const controller = new AbortController();
    const second = outcome(conclave.mutex("a").acquire({ signal: controller.signal }));
    await clock.advance(0);
    const last = outcome(third.mutex("a").acquire());
    await clock.advance(0);
    controller.abort("enough");
    await clock.advance(0);
    expect([second.error, last.settled]).toEqual(["enough", false]);
    expect(await neighbour.mutex("a").queue()).toHaveLength(2);
    await first.release();
    await clock.advance(0);
    expect(last.value?.isHeld()).toBe(true);
    expect(backend.calls.filter(deletes)).toHaveLength(1);
  });

  test("costs one commit when it is free, and three with one ahead", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    backend.calls.length = 0;
    await (await conclave.mutex("a").acquire()).release();
    expect(backend.calls.map(({ name }) => name)).toEqual(["commit", "commit"]);
    const first = await neighbour.mutex("a").acquire();
    backend.calls.length = 0;
    const acquiring = outcome(conclave.mutex("a").acquire());
    await clock.advance(10);
    await first.release();
    await clock.advance(0);
    expect(acquiring.value?.isHeld()).toBe(true);
    // Take a place, look once the watches are live, and look again when the one ahead is gone.
    expect(backend.count("commit")).toBe(3);
    expect(backend.count("watch")).toBe(2);
  });

  test("two holders of one process exclude each other", async () => {
    const { clock, conclave } = await connected();
    const first = await conclave.mutex("a").acquire();
    expect(await conclave.mutex("a").tryAcquire()).toBeUndefined();
    const second = outcome(conclave.mutex("a").acquire());
    await clock.advance(ttlMs);
    expect(second.settled).toBe(false);
    await first.release();
    await clock.advance(0);
    expect(second.value?.token).toBeGreaterThan(first.token);
  });
});

describe("work under a mutex", () => {
  test("is told when the hold is lost or the signal aborts, and gives what it gave or threw", async () => {
    const { clock, other, conclave } = await connected();
    const mutex = conclave.mutex("a");
    await expect(mutex.run(() => "result")).resolves.toBe("result");
    await expect(mutex.run(() => Promise.reject(new Error("its own")))).rejects.toThrow("its own");
    const controller = new AbortController();
    const untilAborted = ({ signal }: { readonly signal: AbortSignal }) =>
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    const aborted = outcome(mutex.run(untilAborted, { signal: controller.signal }));
    await clock.advance(0);
    controller.abort("enough");
    await clock.advance(0);
    expect([aborted.error, await keys(other)]).toEqual(["enough", []]);
    const lost = outcome(mutex.run(untilAborted));
    await clock.advance(0);
    await remove(other, (await mutex.queue())[0]?.key as string);
    await clock.advance(intervalMs);
    expect(lost.error).toMatchObject({ code: "LEASE_LOST" });
  });

  test("guards a transaction by its hold, which fails once that is another's", async () => {
    const { clock, client, conclave, neighbour } = await connected();
    const hold = await conclave.mutex("a").acquire();
    const txn = hold.guard({ if: [{ key: "b", exists: false }], then: [{ get: "b" }] }) satisfies Txn;
    expect(txn.if).toHaveLength(2);
    expect((await conclave.kv.commit(txn)).succeeded).toBe(true);
    // Deleted by an operator and made anew, it is not what was granted.
    const other = await conclave.mutex("b").acquire();
    await remove(client, other.key);
    await put(client, other.key);
    expect((await conclave.kv.commit(other.guard({ then: [] }))).succeeded).toBe(false);
    client.disconnect();
    const next = outcome(neighbour.mutex("a").acquire());
    await clock.advance(ttlMs);
    client.reconnect();
    expect([hold.isHeld(), next.value?.isHeld()]).toEqual([false, true]);
    expect((await conclave.kv.commit(txn)).succeeded).toBe(false);
    await hold.release();
    expect(next.value?.isHeld()).toBe(true);
    expect(await neighbour.mutex("a").queue()).toHaveLength(1);
  });
});

test("a place in line is kept when the store is away just as the next in line is asked for", async () => {
  const { clock, backend, other } = await world();
  const conclave = await connect(backend);
  const neighbour = await connect(other);
  const held = await neighbour.mutex("a").acquire();
  let refused = 0;
  backend.fault = async (call, proceed) => {
    const answer = await proceed();
    if (puts(call)) {
      // As on a store whose lists see later arrivals: ours is not the newest of what it got.
      const { results } = answer;
      return { ...answer, results: [results[0], results[1], { ...results[2], entries: [], more: true }] };
    }
    if (call.name === "commit" && refused++ === 0) throw failure("UNAVAILABLE");
    return answer;
  };
  const waiting = outcome(conclave.mutex("a").acquire());
  await clock.advance(2_000);
  expect([refused > 0, waiting.settled]).toEqual([true, false]);
  await held.release();
  await clock.advance(1_000);
  expect(waiting).toMatchObject({ settled: true, value: { key: expect.any(String) } });
});

test("who joins a line on a store that stands still rejects as soon as the session is lost", async () => {
  const { clock, backend, conclave } = await connected();
  backend.fault = async ({ name }, proceed) => {
    if (name === "commit" || name === "keepAlive") await sleep(clock, 60_000);
    return proceed();
  };
  const attempts = [outcome(conclave.mutex("a").acquire()), outcome(conclave.mutex("b").tryAcquire())];
  await clock.advance(ttlMs - 200);
  expect(attempts.map(({ settled }) => settled)).toEqual([false, false]);
  await clock.advance(200);
  expect(attempts).toMatchObject([{ error: { code: "LEASE_LOST" } }, { error: { code: "LEASE_LOST" } }]);
  await clock.advance(120_000);
  backend.fault = (_, proceed) => proceed();
  expect(await keys(backend)).toEqual([]);
});
