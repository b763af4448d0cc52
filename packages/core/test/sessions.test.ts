import { memory } from "@conclave/backend-memory";
import { type Conclave, connect } from "@conclave/core";
import { scoped, sleep } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import type { Session } from "../src/session.ts";
import { Sessions } from "../src/sessions.ts";
import { failure, losingAnswers, outcome, world } from "./kit.ts";

const ttlMs = 9_000;

async function process() {
  const here = await world();
  const closing = new AbortController();
  return { ...here, closing, sessions: new Sessions(here.backend, ttlMs, closing.signal) };
}

describe("the sessions of a process", () => {
  test("open one at a time, however many ask", async () => {
    const { backend, sessions } = await process();
    const all = await Promise.all(Array.from({ length: 100 }, () => sessions.current()));
    expect(new Set(all).size).toBe(1);
    expect(await sessions.current()).toBe(all[0]);
    expect(backend.count("grant")).toBe(1);
  });

  test("open for one caller though another's wait is aborted", async () => {
    const { clock, backend, sessions } = await process();
    backend.fault = async (_, proceed) => {
      await sleep(clock, 1_000);
      return proceed();
    };
    const controller = new AbortController();
    const first = outcome(sessions.current({ signal: controller.signal }));
    const second = outcome(sessions.current());
    controller.abort("enough");
    await clock.advance(0);
    expect(first).toEqual({ error: "enough", settled: true });
    await clock.advance(1_000);
    expect(second.value?.isAlive()).toBe(true);
  });

  test("count their epochs, and a grant that failed is none", async () => {
    const { clock, backend, client, sessions } = await process();
    backend.fault = async () => {
      throw failure("UNAVAILABLE");
    };
    await expect(Promise.all([sessions.current(), sessions.current()])).rejects.toMatchObject({ code: "UNAVAILABLE" });
    backend.fault = (_, proceed) => proceed();
    const epochs: number[] = [];
    for (let round = 0; round < 3; round++) {
      epochs.push((await sessions.current()).epoch);
      client.disconnect();
      await clock.advance(ttlMs);
      client.reconnect();
    }
    expect(epochs).toEqual([1, 2, 3]);
  });

  test("are UNAVAILABLE, and safe to ask for again, when the answer to a grant is lost", async () => {
    const { backend } = await world();
    backend.fault = losingAnswers(({ name }) => name === "grant");
    await using conclave = await connect(backend);
    const first = await conclave
      .mutex("a")
      .acquire()
      .catch((error: unknown) => error);
    expect(first).toMatchObject({ code: "UNAVAILABLE", cause: { code: "OUTCOME_UNKNOWN" } });
    expect((await conclave.mutex("a").acquire()).isHeld()).toBe(true);
  });

  test("are not opened anew after a loss while nothing is kept", async () => {
    const { clock, backend, client, sessions } = await process();
    await sessions.current();
    const kept = sessions.keep(async () => {});
    kept[Symbol.dispose]();
    client.disconnect();
    await clock.advance(ttlMs);
    client.reconnect();
    await clock.advance(5 * ttlMs);
    expect(backend.count("grant")).toBe(1);
    expect(clock.pendingTimers).toBe(0);
  });

  test("follow each other while something is kept, which registers with each, again and again until it can", async () => {
    const { clock, client, sessions } = await process();
    await sessions.current();
    const registered: number[] = [];
    let refusals = 3;
    sessions.keep(async (session) => {
      if (refusals-- > 0) throw failure(refusals % 2 ? "UNAVAILABLE" : "OUTCOME_UNKNOWN");
      registered.push(session.epoch);
    });
    expect(registered).toEqual([]);
    for (const epoch of [2, 3]) {
      client.disconnect();
      await clock.advance(3 * ttlMs);
      client.reconnect();
      await clock.advance(3_000);
      expect(registered.at(-1)).toBe(epoch);
    }
    expect(registered).toEqual([2, 3]);
  });

  test("do not hold one keeper up for another that fails for good", async () => {
    const { clock, client, sessions } = await process();
    await sessions.current();
    const registered: Session[] = [];
    sessions.keep(async () => {
      throw new TypeError("never");
    });
    sessions.keep(async (session) => void registered.push(session));
    client.disconnect();
    await clock.advance(ttlMs);
    client.reconnect();
    await clock.advance(2_000);
    expect(registered).toHaveLength(1);
  });

  test("end for good with their process, even one that was being opened", async () => {
    const { clock, backend, closing, sessions } = await process();
    backend.fault = async (_, proceed) => {
      const answer = await proceed(); // the grant is applied, and its answer late
      await sleep(clock, 1_000);
      return answer;
    };
    sessions.keep(async () => {});
    const opening = outcome(sessions.current());
    await clock.advance(0);
    closing.abort(failure("CLOSED"));
    const closed = outcome(sessions.close());
    await clock.advance(2_000);
    expect([opening.error, closed.settled]).toMatchObject([{ code: "CLOSED" }, true]);
    expect(backend.count("revoke")).toBe(1);
    await expect(sessions.current()).rejects.toMatchObject({ code: "CLOSED" });
    await clock.advance(5 * ttlMs);
    expect([backend.count("grant"), clock.pendingTimers]).toEqual([1, 0]);
  });
});

describe("closing a conclave", () => {
  test("does not wait for a session that the store does not answer", async () => {
    const backend = scoped(await memory().connect(), "");
    const grant = ({ signal }: { readonly signal?: AbortSignal | undefined }) =>
      new Promise<never>((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    const conclave = await connect({ ...backend, leases: { grant } });
    const waiting = conclave.mutex("a").acquire();
    await conclave.close();
    await expect(waiting).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("ends every wait, hold, view and timer, and what was held is free at once", async () => {
    const { clock, backend, store, other } = await world();
    const conclave = await connect(backend);
    const neighbour = await connect(store);
    const hold = await conclave.mutex("held").acquire();
    await neighbour.mutex("theirs").acquire();
    const leadership = await conclave.election("scheduler").campaign();
    const registration = await conclave.service("payments").register({ address: "a:1" });
    const instances = await conclave.service("payments").instances();
    const reading = outcome(drain(instances));
    const observing = outcome(drain(conclave.election("scheduler").observe()));
    const waiting = outcome(conclave.mutex("theirs").acquire());
    const running = outcome(conclave.election("scheduler").run(() => {}));
    await clock.advance(100);
    await Promise.all([conclave.close(), conclave.close()]);
    expect(hold.signal.reason).toMatchObject({ code: "CLOSED" });
    expect([hold.isHeld(), leadership.isHeld()]).toEqual([false, false]);
    await clock.advance(0);
    for (const { error } of [reading, observing, waiting, running]) expect(error).toMatchObject({ code: "CLOSED" });
    expect((await other.kv.list("")).entries.map(({ key }) => key.split("/")[1])).toEqual(["theirs"]);
    await Promise.all([hold.release(), leadership.resign(), registration.deregister()]);
    for (const use of uses(conclave)) await expect(use()).rejects.toMatchObject({ code: "CLOSED" });
    await neighbour.close();
    await clock.advance(60_000);
    expect(clock.pendingTimers).toBe(0);
  });

  test("leaves a backend that was lent open, and closes a connector's", async () => {
    const { store, other } = await world();
    const lent = await connect(other, { namespace: "shop" });
    await lent.close();
    await expect(other.kv.get("a")).resolves.toBeUndefined();
    const clients: { kv: { get(key: string): Promise<unknown> } }[] = [];
    const made = await connect({
      connect: async () => {
        const client = await store.connect();
        clients.push(client);
        return client;
      },
    });
    await made.close();
    await expect(clients[0]?.kv.get("a")).rejects.toMatchObject({ code: "CLOSED" });
  });
});

function uses(conclave: Conclave): (() => Promise<unknown>)[] {
  return [
    () => conclave.session(),
    () => conclave.kv.get("a"),
    () => conclave.mutex("a").acquire(),
    () => conclave.mutex("a").tryAcquire(),
    () => conclave.mutex("a").queue(),
    () => conclave.election("a").campaign(),
    () => conclave.election("a").leader(),
    () => conclave.service("a").register({ address: "a:1" }),
    () => conclave.service("a").instances(),
  ];
}

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items);
}

test("a time to live beyond the store's is refused when connecting, and the client it made is closed", async () => {
  const { other } = await world();
  let closed = false;
  const store = {
    connect: async () => ({
      ...other,
      limits: { ...other.limits, maxTtlMs: 5_000 },
      [Symbol.asyncDispose]: async () => {
        closed = true;
      },
    }),
  };
  await expect(connect(store, { ttlMs: 5_001 })).rejects.toThrow("ttlMs must be more than 0 and at most 5000");
  expect(closed).toBe(true);
});
