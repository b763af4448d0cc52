import type { Members, Membership, Roster, Seat, SeatState } from "@conclave/core";
import { type Backend, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { numbered, remove, texts, write } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import { Observer } from "./observer.ts";
import {
  deathMs,
  noticeMs,
  type Process,
  rejection,
  start,
  startLinked,
  startMany,
  startMortal,
  startPair,
  within,
} from "./process.ts";
import { cost, startCounted } from "./round-trips.ts";
import { closeAll, everyFault, faults, insist, seeds, Trouble, troubledMs } from "./under-jitter.ts";

function payloads(roster: Roster | undefined): readonly unknown[] {
  return (roster?.members ?? []).map(({ payload }) => payload);
}

/** The members as they are now. */
async function membersNow(group: Membership): Promise<Roster> {
  await using members = await group.members();
  return members.snapshot;
}

function watchGroup(process: Process, scene: Scene): Observer<Roster> {
  return new Observer(process, scene, (signal) => process.conclave.membership("a").watch({ signal }));
}

/** Who is in a group, in which order, and what they say of themselves. */
export function membership(suite: Suite): void {
  suite.it("shows all processes the same members in the same order, that in which they came", async (_, scene) => {
    const processes = await startMany(scene, 4);
    for (const [index, { conclave }] of processes.entries()) await conclave.membership("a").join({ payload: index });
    const rosters = await Promise.all(processes.map(({ conclave }) => membersNow(conclave.membership("a"))));
    for (const [index, { members, stale }] of rosters.entries()) {
      expect([members.map(({ payload }) => payload), stale]).toEqual([[0, 1, 2, 3], false]);
      expect(members.map(({ token }) => token)).toEqual(rosters[0]?.members.map(({ token }) => token));
      expect(members.findIndex(({ self }) => self)).toBe(index);
    }
  });

  suite.it("tells many who come at once apart, and orders them by their tokens", async (_, scene) => {
    const processes = await startMany(scene, 3);
    const seats = await Promise.all(
      numbered(12).map((n, i) => processes[i % 3]?.conclave.membership("a").join({ payload: n })),
    );
    const { members } = await membersNow((processes[0] as Process).conclave.membership("a"));
    expect(new Set(members.map(({ id }) => id))).toEqual(new Set(seats.map((seat) => seat?.id)));
    const tokens = members.map(({ token }) => token);
    expect(tokens).toEqual([...tokens].sort((a, b) => Number(a - b)));
    for (const seat of seats) expect(members.find(({ id }) => id === seat?.id)?.token).toBe(seat?.token);
  });

  suite.it("keeps a member's place and token when its payload changes", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const first = await one.conclave.membership("a").join({ payload: "before" });
    await other.conclave.membership("a").join({ payload: { second: [1, null] } });
    const observer = watchGroup(other, scene);
    const { token } = first;
    await first.update("after");
    await observer.comesTo((roster) => expect(payloads(roster)).toEqual(["after", { second: [1, null] }]));
    expect((await membersNow(one.conclave.membership("a"))).members[0]).toMatchObject({ id: first.id, token });
    expect(first.token).toBe(token);
    expect(await texts(backend.kv)).toMatchObject({ [`membership/a/${first.id}`]: '"after"' });
  });

  suite.it("keeps groups apart whose names begin alike", async (_, scene) => {
    const { conclave } = await start(scene);
    for (const name of ["a", "ab", "a/b", "a%2Fb"]) await conclave.membership(name).join({ payload: name });
    for (const name of ["a", "ab", "a/b", "a%2Fb"])
      expect(payloads(await membersNow(conclave.membership(name)))).toEqual([name]);
  });

  suite.it("does not show oneself when the store does not, and comes back by itself", async (backend, scene) => {
    const process = await startMortal(scene);
    const seat = await process.conclave.membership("a").join({ payload: "self" });
    const observer = watchGroup(process, scene);
    await observer.comesTo((roster) => expect(payloads(roster)).toEqual(["self"]));
    const { token } = seat;
    await remove(backend.kv, `membership/a/${seat.id}`);
    await scene.eventually(backend, () => expect(observer.seen.map(payloads)).toContainEqual([]));
    const back = observer.comesTo((roster) => expect(payloads(roster)).toEqual(["self"]));
    await within(backend, 2 * noticeMs(scene) + scene.timing.watchDelayMs, back);
    await scene.eventually(backend, () => expect(seat.token).toBeGreaterThan(token));
    expect(observer.seen.at(-1)?.members).toMatchObject([{ id: seat.id, token: seat.token, self: true }]);
  });

  suite.it("forgets a member whose process died within its time to live and the lag", async (backend, scene) => {
    const [victim, other] = [await startMortal(scene), await start(scene)];
    await victim.conclave.membership("a").join({ payload: "dead" });
    await other.conclave.membership("a").join({ payload: "alive" });
    const observer = watchGroup(other, scene);
    await observer.comesTo((roster) => expect(payloads(roster)).toEqual(["dead", "alive"]));
    await scene.kill(victim.backend);
    await within(
      backend,
      deathMs(scene),
      observer.comesTo((roster) => expect(payloads(roster)).toEqual(["alive"])),
    );
  });

  suite.it("joins again after a lost session, behind all others, and the seat tells of it", async (backend, scene) => {
    const [process, other] = [await startLinked(scene), await start(scene)];
    const seat = await process.conclave.membership("a").join({ payload: "lost" });
    await other.conclave.membership("a").join({ payload: "stays" });
    const states = new Observer<SeatState>(process, scene, () => seat);
    scene.use(seat);
    const observer = watchGroup(other, scene);
    const before = seat.state;
    expect(before).toMatchObject({ state: "joined", epoch: 1 });
    process.link.cut();
    await observer.comesTo((roster) => expect(payloads(roster)).toEqual(["stays"]));
    expect([seat.isJoined(), seat.state.state]).toEqual([false, "lost"]);
    process.link.mend();
    await observer.comesTo((roster) => expect(payloads(roster)).toEqual(["stays", "lost"]));
    await scene.eventually(backend, () => expect(seat.isJoined()).toBe(true));
    expect(seat.token).toBeGreaterThan(before.token);
    expect(seat.state).toMatchObject({ state: "joined", epoch: 2 });
    expect(states.seen.map(({ state }) => state)).toEqual(["joined", "lost", "joined"]);
    await seat.leave();
    await scene.eventually(backend, () => expect(states.ended).toBe(true));
    expect(states.failure).toBeUndefined();
  });

  suite.it("takes out who leaves, at once and for good, whose seat then can do no more", async (backend, scene) => {
    const { conclave } = await start(scene);
    const seat = await conclave.membership("a").join();
    await Promise.all([seat.leave(), seat.leave()]);
    expect(await texts(backend.kv)).toEqual({});
    await failsWith("NOT_HELD", seat.update("late"));
    expect(seat.isJoined()).toBe(false);
    await conclave.membership("a").join({ payload: 1 });
    await conclave.close();
    expect(await texts(backend.kv)).toEqual({});
    await failsWith("CLOSED", conclave.membership("a").join());
  });

  suite.it("leaves nobody behind who gave up joining", async (backend, scene) => {
    const process = await startMortal(scene);
    await process.conclave.session();
    const reason = new Error("no more");
    const controller = new AbortController();
    const joining = process.conclave.membership("a").join({ signal: controller.signal });
    controller.abort(reason);
    expect(await rejection(joining)).toBe(reason);
    await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
  });

  suite.it(
    "calls back for who joins, changes and leaves, and shows no member where there is none",
    async (backend, scene) => {
      const [one, other] = await startPair(scene);
      await write(backend.kv, { "membership/a/stray": "not JSON" });
      await using members = await other.conclave.membership("a").members();
      const calls: string[] = [];
      using _ = recording(members, calls);
      const comesTo = (...wanted: string[]) => scene.eventually(backend, () => expect(calls).toEqual(wanted));
      const seats: Seat[] = [];
      for (const payload of [1, 2]) seats.push(await one.conclave.membership("a").join({ payload }));
      await comesTo("+1", "+2");
      await seats[1]?.update(2);
      await seats[0]?.update(3);
      await comesTo("+1", "+2", "1>3");
      await seats[0]?.leave();
      await comesTo("+1", "+2", "1>3", "-3");
    },
  );

  suite.it("takes one commit to join, to change the payload, and to leave", async (_, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const group = conclave.membership("a");
    const [joining, seat] = await cost(counted, () => group.join({ payload: 1 }));
    expect(joining).toEqual({ commit: 1 });
    expect((await cost(counted, () => seat.update(2)))[0]).toEqual({ commit: 1 });
    const [watching, members] = await cost(counted, () => group.members());
    expect(watching).toEqual({ watch: 1, list: 1 });
    await members[Symbol.asyncDispose]();
    // One to look, since its put may have been sent more than once, and one to delete.
    expect((await cost(counted, () => seat.leave()))[0]).toEqual({ commit: 2 });
  });

  suite.it("comes to the same members in the same order everywhere, whatever fails", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    for (const seed of seeds(scene)) {
      const readers = await trouble.startMany(seed, 2);
      const views = await Promise.all(
        readers.map(async ({ conclave }) => scene.use(await insist(() => conclave.membership("a").members()))),
      );
      const come = async ({ conclave }: Process, name: number) => {
        const group = conclave.membership("a");
        const [stays, goes] = [await insist(() => group.join({ payload: name })), await insist(() => group.join())];
        await insist(() => stays.update(name + 10));
        await goes.leave();
        return stays;
      };
      const members = await trouble.startMany(seed + 1_000, 3);
      const seats = await within(backend, troubledMs(scene), Promise.all(members.map(come)));
      await converges(backend, scene, views, seats);
      await closeAll([...readers, ...members]);
      await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
    }
    trouble.expectAtLeast(1, ...everyFault);
  });
}

/** That all views come to show exactly these seats, in one order, with the tokens that the seats themselves know. */
async function converges(backend: Backend, scene: Scene, views: readonly Members[], seats: readonly Seat[]) {
  await scene.eventually(backend, () => {
    const wanted = seats.map(({ id, token }) => ({ id, token })).sort((a, b) => Number(a.token - b.token));
    for (const { snapshot } of views) {
      expect(snapshot.members.map(({ id, token }) => ({ id, token }))).toEqual(wanted);
      expect(new Set(payloads(snapshot))).toEqual(new Set([10, 11, 12]));
    }
    for (const seat of seats) expect(seat.isJoined()).toBe(true);
  });
  await sleep(backend.clock, 0);
}

function recording(members: Members, calls: string[]): Disposable {
  return members.subscribe({
    joined: ({ payload }) => calls.push(`+${payload}`),
    changed: ({ payload }, before) => calls.push(`${before.payload}>${payload}`),
    left: ({ payload }) => calls.push(`-${payload}`),
  });
}
