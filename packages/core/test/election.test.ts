import { type Conclave, connect, type Leader } from "@conclave/core";
import type { Txn } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { failure, keys, losingAnswers, outcome, put, puts, remove, type World, world } from "./kit.ts";

const ttlMs = 9_000;
const intervalMs = ttlMs / 3;

async function connected(): Promise<World & { conclave: Conclave; neighbour: Conclave; warnings: string[] }> {
  const here = await world();
  const warnings: string[] = [];
  const onWarning = (warning: string) => void warnings.push(warning);
  const conclave = await connect(here.backend, { ttlMs, owner: "me", onWarning });
  const neighbour = await connect(here.other, { ttlMs, owner: "neighbour" });
  return { ...here, conclave, neighbour, warnings };
}

/** Leads until the leadership is lost or given up. */
const untilLost = ({ signal }: { readonly signal: AbortSignal }) =>
  new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

describe("running for election", () => {
  test("gives what lead gave or threw while leading, and resigns", async () => {
    const { other, conclave, warnings } = await connected();
    const election = conclave.election("a");
    await expect(election.run(({ token }) => typeof token)).resolves.toBe("bigint");
    await expect(election.run(() => Promise.reject(new Error("its own")))).rejects.toThrow("its own");
    await expect(election.run(undefined as never)).rejects.toThrow(TypeError);
    expect([await keys(other), warnings]).toEqual([[], []]);
  });

  test("gives what lead gave or threw after it resigned", async () => {
    const { other, conclave, warnings } = await connected();
    const election = conclave.election("a");
    await expect(election.run((leadership) => leadership.resign().then(() => "done"))).resolves.toBe("done");
    const failing = election.run(async (leadership) => {
      await leadership.resign();
      throw new Error("its own");
    });
    await expect(failing).rejects.toThrow("its own");
    expect([await keys(other), warnings]).toEqual([[], []]);
  });

  test("leads again after each loss, with a greater token, once lead has ended", async () => {
    const { clock, client, other, conclave, warnings } = await connected();
    const tokens: bigint[] = [];
    let leading = 0;
    const running = outcome(
      conclave.election("a").run(async (leadership) => {
        tokens.push(leadership.token);
        expect(++leading).toBe(1);
        await untilLost(leadership).finally(() => {
          leading -= 1;
        });
      }),
    );
    await clock.advance(0);
    client.disconnect();
    await clock.advance(ttlMs);
    client.reconnect();
    await clock.advance(2_000);
    await remove(other, (await keys(other))[0] as string);
    await clock.advance(intervalMs + 1_000);
    expect(tokens.length).toBe(3);
    expect([...tokens].sort((a, b) => Number(a - b))).toEqual(tokens);
    expect(running.settled).toBe(false);
    expect(warnings).toEqual([expect.stringMatching(/^session 1 is lost, with all that it held: .*not renewed/)]);
    await conclave.close();
    await clock.advance(0);
    expect(running.error).toMatchObject({ code: "CLOSED" });
  });

  test("goes on after a lead that fails when its leadership is lost, and warns of it", async () => {
    for (const thrown of [new Error("late"), Symbol("late"), Object.create(null), undefined]) {
      const { clock, other, conclave, warnings } = await connected();
      let terms = 0;
      const running = outcome(
        conclave.election("a").run(async (leadership) => {
          terms += 1;
          if (terms === 2) return "second term";
          await untilLost(leadership).catch(() => {});
          throw thrown;
        }),
      );
      await clock.advance(0);
      await remove(other, (await keys(other))[0] as string);
      await clock.advance(intervalMs + 1_000);
      expect([running.value, warnings.length]).toEqual(["second term", 1]);
    }
  });

  test("goes on though whoever is told of warnings fails", async () => {
    const here = await world();
    const conclave = await connect(here.backend, {
      ttlMs,
      onWarning: () => {
        throw new Error("the log is full");
      },
    });
    let terms = 0;
    const running = outcome(
      conclave.election("a").run(async (leadership) => {
        if (++terms === 2) return "second term";
        await untilLost(leadership).catch(() => {});
        throw new Error("late");
      }),
    );
    await here.clock.advance(0);
    await remove(here.other, (await keys(here.other))[0] as string);
    await here.clock.advance(intervalMs + 1_000);
    expect(running.value).toBe("second term");
  });

  test("ends with the signal's reason, while waiting at once and while leading after lead ended", async () => {
    const { clock, other, conclave, neighbour } = await connected();
    const controller = new AbortController();
    const { signal } = controller;
    let ended = 0;
    const lead = async (leadership: { readonly signal: AbortSignal }) => {
      await untilLost(leadership).catch(() => {});
      await new Promise<void>((resolve) => void clock.after(500, resolve));
      ended += 1;
    };
    const leading = outcome(neighbour.election("a").run(lead, { signal }));
    await clock.advance(0);
    const waiting = outcome(conclave.election("a").run(lead, { signal }));
    await clock.advance(10);
    controller.abort("enough");
    await clock.advance(0);
    expect([waiting.error, leading.settled, ended]).toEqual(["enough", false, 0]);
    await clock.advance(500);
    expect([leading.error, ended, await keys(other)]).toEqual(["enough", 1, []]);
  });

  test("outlives a store that is away, but not one that refuses for good", async () => {
    const { clock, client, backend, conclave } = await connected();
    client.disconnect();
    const running = outcome(conclave.election("a").run(() => "led"));
    await clock.advance(60_000);
    expect(running.settled).toBe(false);
    client.reconnect();
    await clock.advance(1_100);
    expect(running.value).toBe("led");
    backend.fault = async () => {
      throw failure("DENIED");
    };
    await expect(conclave.election("a").run(() => {})).rejects.toMatchObject({ code: "DENIED" });
  });
});

describe("leadership", () => {
  test("is proclaimed though the answer was lost, and keeps its token", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const leadership = await conclave.election("a").campaign({ value: "before" });
    backend.fault = losingAnswers(puts, 2);
    const proclaiming = outcome(leadership.proclaim("after"));
    await clock.advance(1_000);
    expect(proclaiming).toEqual({ value: undefined, settled: true });
    const { key, token } = leadership;
    expect(await neighbour.election("a").leader()).toEqual({ value: "after", token, key });
  });

  test("is not proclaimed anew by what was sent before, settled or given up, and arrives last", async () => {
    const { clock, client, backend, conclave, neighbour } = await connected();
    const leadership = await conclave.election("a").campaign();
    const late: (() => Promise<unknown>)[] = [];
    const loseFirstSending = () => {
      let lost = false;
      backend.fault = async (call, proceed) => {
        if (!puts(call) || lost) return proceed();
        lost = true;
        late.push(() => client.kv.commit(call.argument as Txn));
        throw failure("OUTCOME_UNKNOWN");
      };
    };
    loseFirstSending();
    const settled = outcome(leadership.proclaim("settled"));
    await clock.advance(1_000);
    expect([settled.settled, settled.error]).toEqual([true, undefined]);
    loseFirstSending();
    const controller = new AbortController();
    const givenUp = outcome(leadership.proclaim("given up", { signal: controller.signal }));
    await clock.advance(0);
    controller.abort("enough");
    await clock.advance(0);
    expect(givenUp.error).toBe("enough");
    await leadership.proclaim("last");
    for (const arrive of late) await arrive();
    expect([late.length, (await neighbour.election("a").leader())?.value]).toEqual([2, "last"]);
  });

  test("is proclaimed over what arrived late, or was written by hand, and no more once it says so", async () => {
    const { backend, other, conclave } = await connected();
    const leadership = await conclave.election("a").campaign();
    for (const [by, commits] of [
      ["hand", 2],
      ["me", 1],
    ] as const) {
      await put(other, leadership.key, by);
      await put(other, leadership.key, by);
      backend.calls.length = 0;
      await leadership.proclaim("me");
      expect(backend.count("commit")).toBe(commits);
    }
    expect((await conclave.election("a").leader())?.value).toBe("me");
  });

  test("that an operator ended is not proclaimed anew, and is lost by then", async () => {
    const { other, conclave } = await connected();
    const leadership = await conclave.election("a").campaign();
    await remove(other, leadership.key);
    await expect(leadership.proclaim("mine")).rejects.toMatchObject({ code: "NOT_HELD" });
    expect([leadership.isHeld(), leadership.signal.reason, await keys(other)]).toMatchObject([
      false,
      { code: "NOT_HELD" },
      [],
    ]);
  });

  test("that was resigned is never called lost, even by a proclamation under way", async () => {
    const { clock, backend, conclave } = await connected();
    const leadership = await conclave.election("a").campaign();
    backend.fault = async (call, proceed) => {
      if (puts(call)) throw failure("OUTCOME_UNKNOWN");
      return proceed();
    };
    const proclaiming = outcome(leadership.proclaim("late"));
    await clock.advance(0);
    await leadership.resign();
    backend.fault = (_, proceed) => proceed();
    await clock.advance(1_000);
    expect(proclaiming.error).toMatchObject({ code: "NOT_HELD" });
    await conclave.close();
    expect(leadership.signal.aborted).toBe(false);
    await expect(leadership.proclaim("later")).rejects.toMatchObject({ code: "NOT_HELD" });
  });
});

describe("observing an election", () => {
  test("shows who leads, each change of it, and nobody, but never a candidate that only waits", async () => {
    const { clock, conclave, neighbour } = await connected();
    const seen: (string | undefined)[] = [];
    const observing = outcome(
      (async () => {
        for await (const leader of conclave.election("a").observe()) seen.push(leader?.value);
      })(),
    );
    await clock.advance(0);
    const first = await neighbour.election("a").campaign({ value: "one" });
    const second = outcome(neighbour.election("a").campaign({ value: "two" }));
    await clock.advance(0);
    await first.proclaim("one, again");
    await clock.advance(0);
    await first.resign();
    await clock.advance(0);
    await second.value?.resign();
    await clock.advance(60_000);
    expect(seen).toEqual([undefined, "one", "one, again", "two", undefined]);
    expect((await conclave.election("a").leader()) satisfies Leader | undefined).toBeUndefined();
    await conclave.close();
    await clock.advance(0);
    expect(observing.error).toMatchObject({ code: "CLOSED" });
  });

  test("opens no session and leaves nothing behind when the reader leaves", async () => {
    const { clock, backend, conclave } = await connected();
    for await (const leader of conclave.election("a").observe()) {
      expect(leader).toBeUndefined();
      break;
    }
    expect([backend.count("grant"), clock.pendingTimers]).toEqual([0, 0]);
  });
});
