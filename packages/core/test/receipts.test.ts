import { decode, encode, type Txn } from "@conclave/core/backend";
import { afterEach, expect, test } from "vitest";
import { Receipts } from "../src/receipts.ts";
import { Sessions } from "../src/sessions.ts";
import { type Call, failure, keys, losingAnswers, puts, remove, type World, world } from "./kit.ts";

const closing = new AbortController();
let playing: Disposable | undefined;
afterEach(() => playing?.[Symbol.dispose]());

async function start(): Promise<World & { receipts: Receipts; sessions: Sessions }> {
  const made = await world();
  playing = made.clock.play();
  const sessions = new Sessions(made.backend, 10_000, closing.signal);
  await sessions.current();
  return { ...made, sessions, receipts: new Receipts(made.backend, sessions) };
}

/** Adds a letter to a text, if the text is what it was thought to be. */
function append(text: string, letter: string, modified: bigint | undefined) {
  return {
    if: [modified === undefined ? { key: "text", exists: false } : { key: "text", modified }],
    then: [{ put: "text", value: encode(text + letter) }],
    else: [{ get: "text" }],
  } as const;
}

/** An unconditional write that would show if it were done twice. */
const bump = { then: [{ put: "text", value: encode("once") }] } as const;

const isBump = (call: Call) => puts(call) && (call.argument as Txn).then.length > 1;

const text = async ({ other }: World) => {
  const entry = await other.kv.get("text");
  return entry && decode(entry.value);
};

test("a commit is applied in one round trip, at the revision it says", async () => {
  const all = await start();
  const calls = all.backend.calls.length;
  const done = await all.receipts.commit(append("", "a", undefined));
  expect(all.backend.calls.length - calls).toBe(1);
  expect(done).toEqual({ applied: true, revision: (await all.other.kv.get("text"))?.modified });
});

test("a commit whose condition does not hold gives what else read, and applies nothing", async () => {
  const all = await start();
  await all.receipts.commit(append("", "a", undefined));
  const done = await all.receipts.commit(append("", "b", undefined));
  expect(done).toMatchObject({ applied: false, results: [{ key: "text" }] });
  expect(await text(all)).toBe("a");
});

test("a commit whose answer is lost is applied once and known to be", async () => {
  const all = await start();
  all.backend.fault = losingAnswers(puts, 2);
  const done = await all.receipts.commit(bump);
  const entry = await all.other.kv.get("text");
  expect(done).toEqual({ applied: true, revision: entry?.modified });
  expect(entry?.created).toBe(entry?.modified);
});

test("a commit that was applied unheard is not applied again over what others wrote since", async () => {
  const all = await start();
  let first = true;
  all.backend.fault = async (call, proceed) => {
    if (!puts(call) || !first) return proceed();
    first = false;
    await proceed();
    await all.other.kv.commit({ then: [{ put: "text", value: encode("theirs") }] });
    throw failure("OUTCOME_UNKNOWN");
  };
  expect(await all.receipts.commit(bump)).toMatchObject({ applied: true });
  expect(await text(all)).toBe("theirs");
});

test("what was sent first does nothing when it arrives last, also when its condition holds again", async () => {
  const all = await start();
  let late: (() => Promise<unknown>) | undefined;
  await all.other.kv.commit({ then: [{ put: "text", value: encode("in the way") }] });
  all.backend.fault = async (call, proceed) => {
    if (!puts(call) || late) return proceed();
    late = proceed;
    throw failure("OUTCOME_UNKNOWN");
  };
  const done = await all.receipts.commit(append("", "a", undefined));
  expect(done).toMatchObject({ applied: false, results: [{ key: "text" }] });
  await remove(all.other, "text");
  await late?.();
  expect(await text(all)).toBeUndefined();
});

test("a first sending that arrives between the second and the voiding counts as applied", async () => {
  const all = await start();
  let late: (() => Promise<unknown>) | undefined;
  let sent = 0;
  await all.other.kv.commit({ then: [{ put: "text", value: encode("in the way") }] });
  all.backend.fault = async (call, proceed) => {
    if (!puts(call)) return proceed();
    sent += 1;
    if (sent === 1) {
      late = proceed;
      throw failure("OUTCOME_UNKNOWN");
    }
    if (sent === 3) {
      await remove(all.other, "text");
      await late?.();
    }
    return proceed();
  };
  expect(await all.receipts.commit(append("", "a", undefined))).toMatchObject({ applied: true });
  expect(await text(all)).toBe("a");
});

test("a refusal of the first sending is passed on, and nothing was applied", async () => {
  const all = await start();
  all.backend.fault = async (call, proceed) => (puts(call) ? Promise.reject(failure("UNAVAILABLE")) : proceed());
  await expect(all.receipts.commit(bump)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(await text(all)).toBeUndefined();
});

test("a refusal after an unknown outcome is an unknown outcome", async () => {
  const all = await start();
  let sent = 0;
  all.backend.fault = async (call, proceed) => {
    if (!puts(call)) return proceed();
    sent += 1;
    throw failure(sent === 1 ? "OUTCOME_UNKNOWN" : "LEASE_LOST");
  };
  await expect(all.receipts.commit(bump)).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
});

test("an unknown outcome is told when the session ends before the store answers", async () => {
  const all = await start();
  all.backend.fault = async (call, proceed) => {
    if (call.name === "keepAlive" || puts(call)) throw failure("OUTCOME_UNKNOWN");
    return proceed();
  };
  const commit = all.receipts.commit(bump);
  await expect(commit).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN", cause: { code: "LEASE_LOST" } });
});

test("an abort between two sendings rejects with its reason", async () => {
  const all = await start();
  const controller = new AbortController();
  all.backend.fault = async (call, proceed) => {
    if (!puts(call)) return proceed();
    controller.abort(new Error("enough"));
    throw failure("OUTCOME_UNKNOWN");
  };
  const commit = all.receipts.commit(bump, { signal: controller.signal });
  await expect(commit).rejects.toThrow("enough");
});

test("one commit after another uses one receipt, and many at once one each", async () => {
  const all = await start();
  for (let index = 0; index < 5; index++) await all.receipts.commit({ then: [] });
  expect(await keys(all.other, "receipts/")).toHaveLength(1);
  await Promise.all(Array.from({ length: 10 }, () => all.receipts.commit({ then: [] })));
  await Promise.all(Array.from({ length: 10 }, () => all.receipts.commit({ then: [] })));
  expect(await keys(all.other, "receipts/")).toHaveLength(10);
});

test("the receipt of a commit that was refused is used again at once", async () => {
  const all = await start();
  await all.receipts.commit({ then: [] });
  let failing = true;
  all.backend.fault = async (call, proceed) => (failing && isBump(call) ? Promise.reject(failure("LIMIT")) : proceed());
  await expect(all.receipts.commit(bump)).rejects.toMatchObject({ code: "LIMIT" });
  failing = false;
  const calls = all.backend.calls.length;
  expect(await all.receipts.commit(bump)).toMatchObject({ applied: true });
  expect(all.backend.calls.length - calls).toBe(1);
  expect(await keys(all.other, "receipts/")).toHaveLength(1);
});

/** Gives a commit up after two sendings went astray, and lets one arrive now and the other much later. */
async function givenUp(all: Awaited<ReturnType<typeof start>>) {
  const controller = new AbortController();
  const astray: (() => Promise<unknown>)[] = [];
  all.backend.fault = async (call, proceed) => {
    if (!isBump(call) || astray.length === 2) return proceed();
    if (astray.push(() => all.client.kv.commit(call.argument as Txn)) === 2) controller.abort(new Error("enough"));
    throw failure("OUTCOME_UNKNOWN");
  };
  await expect(all.receipts.commit(bump, { signal: controller.signal })).rejects.toThrow("enough");
  const [one, other] = astray as [() => Promise<unknown>, () => Promise<unknown>];
  return { one, other };
}

test.each(["new", "used"])("what was given up applies at most once, with a %s receipt", async (receipt) => {
  const all = await start();
  if (receipt === "used") await all.receipts.commit({ then: [] });
  const { one, other } = await givenUp(all);
  await one();
  await remove(all.other, "text");
  await all.clock.advance(5_000);
  await other();
  expect(await text(all)).toBeUndefined();
});

test("what was given up does nothing once its receipt is void, and the receipt is used again", async () => {
  const all = await start();
  const { one, other } = await givenUp(all);
  await all.clock.advance(0);
  await one();
  await other();
  expect(await text(all)).toBeUndefined();
  expect(await all.receipts.commit(bump)).toMatchObject({ applied: true });
  expect(await keys(all.other, "receipts/")).toHaveLength(1);
  await other();
  expect(await all.receipts.commit({ then: [] })).toMatchObject({ applied: true });
});

test("a receipt is made void as soon as the store answers again", async () => {
  const all = await start();
  const controller = new AbortController();
  let away = true;
  all.backend.fault = async (call, proceed) => {
    if (!puts(call) || !away) return proceed();
    controller.abort(new Error("enough"));
    throw failure("OUTCOME_UNKNOWN");
  };
  await expect(all.receipts.commit(bump, { signal: controller.signal })).rejects.toThrow("enough");
  await all.clock.advance(2_000);
  expect(await keys(all.other, "receipts/")).toEqual([]);
  away = false;
  await all.clock.advance(2_000);
  expect(await keys(all.other, "receipts/")).toHaveLength(1);
  await all.receipts.commit(bump);
  expect(await keys(all.other, "receipts/")).toHaveLength(1);
});

test("a receipt that somebody deleted costs one call that was surely not applied", async () => {
  const all = await start();
  await all.receipts.commit({ then: [] });
  const [used] = (await keys(all.other, "receipts/")) as [string];
  await remove(all.other, used);
  await expect(all.receipts.commit(bump)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(await text(all)).toBeUndefined();
  expect(await all.receipts.commit(bump)).toMatchObject({ applied: true });
});

test("puts may hang on the session's lease, and receipts go with it", async () => {
  const all = await start();
  await all.receipts.commit(({ lease }) => ({ then: [{ put: "mine", value: encode(""), lease }] }));
  expect(await keys(all.other)).toHaveLength(2);
  await all.sessions.close();
  expect(await keys(all.other)).toEqual([]);
});
