import { type Conclave, connect, type Members, type Seat, type SeatState, tokenOf } from "@conclave/core";
import { describe, expect, test } from "vitest";
import { describeJunk, object } from "./junk.ts";
import {
  type Any,
  Faulty,
  failure,
  keys,
  losingAnswers,
  outcome,
  put,
  puts,
  remove,
  StallingClock,
  world,
} from "./kit.ts";

const ttlMs = 9_000;
const intervalMs = ttlMs / 3;

async function connected(options: Parameters<typeof world>[0] = {}) {
  const here = await world(options);
  const warnings: string[] = [];
  const onWarning = (warning: string) => void warnings.push(warning);
  const conclave = await connect(here.backend, { ttlMs, onWarning });
  const neighbour = await connect(here.other, { ttlMs });
  return { ...here, conclave, neighbour, warnings };
}

const payloads = ({ snapshot }: Members) => snapshot.members.map(({ payload }) => payload);

/** Reads what a stream shows into a list. */
function read<T>(states: AsyncIterable<T>) {
  const seen: T[] = [];
  const end = outcome(
    (async () => {
      for await (const state of states) seen.push(state);
    })(),
  );
  return { seen, end };
}

describe("a membership", () => {
  test("shows its members in the order in which they came, the same to all, whoever changes its payload", async () => {
    const { clock, conclave, neighbour } = await connected();
    const seats: Seat[] = [];
    for (const [index, one] of [conclave, neighbour, conclave, neighbour].entries())
      seats.push(await one.membership("a").join({ payload: index }));
    const [here, there] = [await conclave.membership("a").members(), await neighbour.membership("a").members()];
    expect([payloads(here), payloads(there)]).toEqual([
      [0, 1, 2, 3],
      [0, 1, 2, 3],
    ]);
    const { token } = seats[1] as { token: bigint };
    await seats[1]?.update({ name: "changed" });
    await seats[2]?.leave();
    await clock.advance(0);
    expect([payloads(here), payloads(there)]).toEqual([
      [0, { name: "changed" }, 3],
      [0, { name: "changed" }, 3],
    ]);
    expect([here.snapshot.members[1]?.token, seats[1]?.token]).toEqual([token, token]);
    expect(here.snapshot.members.map(({ self }) => self)).toEqual([true, false, false]);
    expect(there.snapshot.members.map(({ self }) => self)).toEqual([false, true, true]);
    expect(here.snapshot.members.map(({ id }) => id)).toEqual([0, 1, 3].map((index) => seats[index]?.id));
  });

  test("never shows a member that is not in the store, oneself included", async () => {
    const { clock, client, other, conclave, neighbour } = await connected();
    const seat = await conclave.membership("a").join();
    await using members = await conclave.membership("a").members();
    expect(members.snapshot.members).toMatchObject([{ id: seat.id, self: true }]);
    await remove(other, `membership/a/${seat.id}`);
    await clock.advance(0);
    expect(members.snapshot.members).toEqual([]);
    await clock.advance(intervalMs);
    expect(members.snapshot.members).toMatchObject([{ id: seat.id, self: true, token: seat.token }]);
    await using theirs = await neighbour.membership("a").members();
    client.disconnect();
    await clock.advance(2 * ttlMs);
    expect([theirs.snapshot.members, seat.isJoined(), members.snapshot.stale]).toEqual([[], false, true]);
  });

  test("comes back under the next session by itself, last in order, and the seat says so", async () => {
    const { clock, client, conclave, neighbour } = await connected();
    const seat = await conclave.membership("a").join({ payload: "one" });
    const { token } = seat;
    await neighbour.membership("a").join({ payload: "two" });
    const { seen } = read<SeatState>(seat);
    await using theirs = await neighbour.membership("a").members();
    client.disconnect();
    await clock.advance(2 * ttlMs);
    expect([payloads(theirs), seat.token]).toEqual([["two"], token]);
    client.reconnect();
    await clock.advance(2_000);
    expect(payloads(theirs)).toEqual(["two", "one"]);
    expect(seat.token).toBeGreaterThan(token);
    expect(seen).toEqual([
      { state: "joined", token, epoch: 1 },
      { state: "lost", token, epoch: 1 },
      { state: "joined", token: seat.token, epoch: 2 },
    ]);
  });

  test("keeps its place when the next session opens before the old lease ended", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const seat = await conclave.membership("a").join();
    const { token } = seat;
    await using theirs = await neighbour.membership("a").members();
    const { seen } = read(theirs);
    backend.fault = async ({ name }, proceed) => {
      if (name === "keepAlive" && backend.count("grant") === 1) throw failure("UNAVAILABLE");
      return proceed();
    };
    await clock.advance(3 * ttlMs);
    expect([seat.state, seat.token]).toEqual([{ state: "joined", token, epoch: 2 }, token]);
    expect(new Set(seen.map(({ members }) => members.map((member) => member.token).join()))).toEqual(
      new Set([`${token}`]),
    );
  });

  test("knows that it is lost in the first line after the process was stopped", async () => {
    const { clock, client, conclave } = await connected();
    const seat = await conclave.membership("a").join();
    client.disconnect();
    await clock.advance(ttlMs);
    expect([seat.isJoined(), seat.state.state]).toEqual([false, "lost"]);
  });

  test("is joined once though the answers are lost, and not at all when joining fails", async () => {
    const { clock, backend, other, conclave } = await connected();
    backend.fault = losingAnswers(puts, 2);
    const joining = outcome(conclave.membership("a").join());
    await clock.advance(1_000);
    expect(await keys(other)).toEqual([`membership/a/${joining.value?.id}`]);
    await joining.value?.leave();
    backend.fault = losingAnswers(puts, 99);
    const controller = new AbortController();
    const aborted = outcome(conclave.membership("a").join({ signal: controller.signal }));
    await clock.advance(100);
    controller.abort("enough");
    await clock.advance(intervalMs);
    expect([aborted.error, await keys(other)]).toEqual(["enough", []]);
  });

  test("calls back for who joins, changes and leaves, and for one that came back as for another", async () => {
    const { clock, client, conclave, neighbour } = await connected();
    await using members = await neighbour.membership("a").members();
    const calls: string[] = [];
    using _ = members.subscribe({
      joined: ({ payload }) => calls.push(`+${payload}`),
      changed: ({ payload }, before) => calls.push(`${before.payload}>${payload}`),
      left: ({ payload }) => calls.push(`-${payload}`),
    });
    const seat = await conclave.membership("a").join({ payload: 1 });
    await clock.advance(0);
    await seat.update(1);
    await seat.update(2);
    await clock.advance(0);
    client.disconnect();
    await clock.advance(2 * ttlMs);
    client.reconnect();
    await clock.advance(2_000);
    await seat.leave();
    await clock.advance(0);
    expect(calls).toEqual(["+1", "1>2", "-2", "+2", "-2"]);
  });

  test("says why its callbacks are called no more, unless it was told to end", async () => {
    const { clock, backend, conclave, warnings } = await connected();
    const controller = new AbortController();
    const told = await conclave.membership("a").members({ signal: controller.signal });
    told.subscribe({});
    controller.abort("enough");
    await clock.advance(0);
    expect(warnings).toEqual([]);
    backend.fault = async ({ name }, proceed) => {
      const watch = await proceed();
      if (name === "watch") clock.after(10, () => void watch[Symbol.asyncDispose]());
      return watch;
    };
    (await conclave.membership("a").members()).subscribe({});
    await clock.advance(10);
    expect(warnings).toEqual([expect.stringContaining("a view of members ended")]);
  });

  test("passes over what is no member", async () => {
    const { other, conclave } = await connected();
    await put(other, "membership/a/stray", "not JSON");
    await conclave.membership("a").join({ payload: "here" });
    expect(payloads(await conclave.membership("a").members())).toEqual(["here"]);
  });

  test("keeps what was said when it was said, whatever becomes of the object", async () => {
    const { clock, other, conclave, neighbour } = await connected();
    const payload = { port: 1 };
    const seat = await conclave.membership("a").join({ payload });
    payload.port = 2;
    await remove(other, `membership/a/${seat.id}`);
    await clock.advance(intervalMs);
    expect(payloads(await neighbour.membership("a").members())).toEqual([{ port: 1 }]);
  });

  test("gives a roster that has reached a revision, and the same one until something changes", async () => {
    const { clock, conclave, neighbour } = await connected();
    await using members = await conclave.membership("a").members();
    expect(members.snapshot).toBe(members.snapshot);
    const seat = await neighbour.membership("a").join();
    const created = (await neighbour.kv.get(`membership/a/${seat.id}`))?.created as bigint;
    const reaching = outcome(members.reached(created));
    await clock.advance(1_000);
    expect(reaching.value?.members).toMatchObject([{ id: seat.id, token: tokenOf(created) }]);
  });

  test("ends a seat's states when it is left, and its changes with NOT_HELD", async () => {
    const { clock, conclave, neighbour } = await connected();
    const seat = await conclave.membership("a").join();
    const { end } = read<SeatState>(seat);
    await Promise.all([seat.leave(), seat.leave()]);
    await clock.advance(0);
    expect(end).toEqual({ settled: true });
    expect(await keys(neighbour.backend)).toEqual([]);
    await expect(seat.update(1)).rejects.toMatchObject({ code: "NOT_HELD" });
    const other = await conclave.membership("a").join();
    const states = read<SeatState>(other);
    await conclave.close();
    await clock.advance(0);
    expect(states.end.error).toMatchObject({ code: "CLOSED" });
  });
});

const circle: Any = {};
circle.self = circle;
const wrong: [string, (conclave: Conclave & Any) => unknown, typeof TypeError, RegExp][] = [
  [
    "a group without a name",
    (c) => c.membership(),
    TypeError,
    /name of the membership must be a string, not undefined/,
  ],
  ["a group with an empty name", (c) => c.membership(""), RangeError, /name of the membership/],
  ["an unknown option of join", (c) => c.membership("a").join({ id: "x" }), TypeError, /join has no option "id"/],
  ["a payload that is no JSON", (c) => c.membership("a").join({ payload: 1n }), TypeError, /payload must be something/],
  ["a payload in a circle", (c) => c.membership("a").join({ payload: circle }), TypeError, /payload must be something/],
  ["an option of members", (c) => c.membership("a").members({ recursive: true }), TypeError, /members has no option/],
  ["an option of watch", (c) => c.membership("a").watch({ x: 1 }).next(), TypeError, /members has no option/],
  [
    "an update that is none",
    async (c) => (await c.membership("a").join()).update(undefined),
    TypeError,
    /payload must/,
  ],
  [
    "an option of update",
    async (c) => (await c.membership("a").join()).update(1, { x: 1 }),
    TypeError,
    /update has no/,
  ],
  [
    "callbacks that are none",
    async (c) => (await c.membership("a").members()).subscribe({ joined: 1 }),
    TypeError,
    /joined of subscribe must be a function/,
  ],
  [
    "callbacks of another recipe",
    async (c) => (await c.membership("a").members()).subscribe({ started() {} }),
    TypeError,
    /subscribe has no option "started"/,
  ],
];

describe("what makes no sense is refused with the reason:", () => {
  test.each(wrong)("%s", async (_, call, type, message) => {
    const conclave = await connect((await world()).backend);
    const error = await (async () => call(conclave))().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(type);
    expect(String(error)).toMatch(message);
    await conclave.close();
  });
});

describeJunk({
  "membership.join": (c, one, other) => c.membership(one).join({ ...object(other), payload: undefined, wrong: 1 }),
  "membership.join with a payload": (c, one) => c.membership("a").join({ payload: [one, undefined, 1n] }),
  "membership.members": (c, one, other) => c.membership(one).members({ ...object(other), wrong: 1 }),
  "membership.watch": (c, one, other) =>
    c
      .membership(one)
      .watch({ ...object(other), wrong: 1 })
      .next(),
  "members.subscribe": async (c, one, other) => {
    await using members = await c.membership("a").members();
    return members.subscribe({ ...object(one), joined: [other] });
  },
});

test("a member is known for one's own as soon as the store shows it, before the answer to its joining", async () => {
  const { clock, backend, conclave } = await connected();
  const group = await conclave.membership("a").members();
  const joined: boolean[] = [];
  group.subscribe({ joined: ({ self }) => void joined.push(self) });
  backend.fault = async (call, proceed) => {
    const answer = await proceed();
    if (puts(call)) await new Promise<void>((resolve) => void clock.after(50, resolve));
    return answer;
  };
  const joining = conclave.membership("a").join();
  await clock.advance(20);
  expect(joined).toEqual([true]);
  await clock.advance(50);
  await joining;
  expect(group.snapshot.members.map(({ self }) => self)).toEqual([true]);
});

test("a callback that fails later is told of, too", async () => {
  const { clock, conclave, warnings } = await connected();
  const group = await conclave.membership("a").members();
  group.subscribe({ joined: () => Promise.reject(new Error("later")) });
  await conclave.membership("a").join();
  await clock.advance(0);
  expect(warnings).toEqual([expect.stringContaining("later")]);
});

describe("a seat", () => {
  test("stays its member's when also the session of a put without an answer is lost", async () => {
    const { clock, backend, other, conclave } = await connected();
    const seat = await conclave.membership("a").join();
    // The store renews what we do not hear of, so that the leases of lost sessions live on.
    backend.fault = async (call, proceed) => {
      const sessions = backend.count("grant");
      const answer = await proceed();
      if (call.name === "keepAlive" && sessions <= 2) throw failure("UNAVAILABLE");
      if (puts(call) && sessions === 2) throw failure("OUTCOME_UNKNOWN");
      return answer;
    };
    await clock.advance(4 * ttlMs);
    expect([backend.count("grant"), seat.signal.aborted, seat.state]).toMatchObject([3, false, { epoch: 3 }]);
    await seat.leave();
    expect(await keys(other, "membership/")).toEqual([]);
  });

  test("is kept though the process was stopped right after it was taken", async () => {
    for (let turns = 0; turns < 12; turns++) {
      const here = await world();
      const clock = new StallingClock(here.clock);
      const backend = new Faulty(here.client, clock);
      const conclave = await connect(backend, { ttlMs });
      const session = await conclave.session();
      const stop = async () => {
        for (let turn = 0; turn < turns; turn++) await undefined;
        clock.stall(30_000);
        session.isAlive();
      };
      backend.fault = async (call, proceed) => {
        const answer = await proceed();
        if (puts(call) && backend.count("grant") === 1) void stop();
        return answer;
      };
      const joining = outcome(conclave.membership("a").join());
      await here.clock.advance(2 * ttlMs);
      expect(joining.settled).toBe(true);
      if (joining.value) expect([turns, joining.value.state.state]).toEqual([turns, "joined"]);
    }
  });
});
