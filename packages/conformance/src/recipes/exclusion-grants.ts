import { tokenOf } from "@conclave/core";
import { sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { present, remove, write } from "../entries.ts";
import { Contest, type Exclusive, Room } from "./exclusive.ts";
import { type Process, start, startMany, startPair, staysOpen, within } from "./process.ts";

/** Who is let in, and in which order. */
export function exclusionGrants(suite: Suite, exclusive: Exclusive): void {
  suite.it("grants what is free at once, by a key whose incarnation is the token", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const grant = await contest.acquire(await start(scene));
    expect(grant.isHeld()).toBe(true);
    expect(grant.signal.aborted).toBe(false);
    expect(await contest.keys()).toEqual([grant.key]);
    expect(tokenOf((await present(backend.kv, grant.key)).created)).toBe(grant.token);
  });

  suite.it("leaves nothing behind when it is released", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const grant = await contest.acquire(await start(scene));
    await grant.release();
    expect(grant.isHeld()).toBe(false);
    expect(grant.signal.aborted, "released is not lost").toBe(false);
    expect(await contest.keys()).toEqual([]);
  });

  suite.it("never has two holders while processes contend", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const room = new Room();
    const contend = async (process: Process) => {
      for (let round = 0; round < 4; round++) {
        const grant = await contest.acquire(process);
        room.enter(grant);
        if (round % 2 === 0) await sleep(backend.clock, 1 + backend.clock.random() * 3);
        await grant.release();
      }
    };
    await within(backend, 10 * scene.patienceMs, Promise.all((await startMany(scene, 5)).map(contend)));
    expect(room.visits).toBe(20);
    expect(await contest.keys()).toEqual([]);
  });

  suite.it("gives every grant a larger token, whoever gets it", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const [one, other] = await startPair(scene);
    const tokens: bigint[] = [];
    for (const process of [one, one, other, one, other, other]) {
      const grant = await contest.acquire(process);
      tokens.push(grant.token);
      await grant.release();
    }
    expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => (a < b ? -1 : 1)));
  });

  suite.it("hands over when it is released, and not before", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const next = await contest.join(await start(scene));
    await staysOpen(backend, scene, next.granted);
    await holder.release();
    const grant = await within(backend, scene.patienceMs, next.granted);
    expect(grant.key).toBe(next.key);
    expect(grant.token).toBeGreaterThan(holder.token);
  });

  suite.it("grants in the order in which places in line were taken", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const keys: string[] = [];
    const order: string[] = [];
    const turns: Promise<void>[] = [];
    for (const process of (await startMany(scene, 6)).reverse()) {
      const { key, granted } = await contest.join(process);
      keys.push(key);
      turns.push(
        granted.then((grant) => {
          order.push(grant.key);
          return grant.release();
        }),
      );
    }
    await holder.release();
    await within(backend, scene.patienceMs, Promise.all(turns));
    expect(order).toEqual(keys);
  });

  suite.it("drains a line of twenty, each in its turn", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const room = new Room();
    const holder = await contest.acquire(await start(scene));
    room.enter(holder);
    const turns = (await startMany(scene, 20)).map(async (process) => {
      const grant = await contest.acquire(process);
      room.enter(grant);
      await grant.release();
    });
    await scene.eventually(backend, async () => expect(await contest.keys()).toHaveLength(21));
    await holder.release();
    await within(backend, 3 * scene.patienceMs, Promise.all(turns));
    expect(room.visits).toBe(21);
    expect(await contest.keys()).toEqual([]);
  });

  suite.it("keeps two callers of one process apart, as if they were two processes", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const process = await start(scene);
    const first = await contest.acquire(process);
    const second = contest.acquire(process);
    await staysOpen(backend, scene, second);
    await first.release();
    const grant = await within(backend, scene.patienceMs, second);
    expect(grant.token).toBeGreaterThan(first.token);
    expect(grant.isHeld()).toBe(true);
    expect(first.isHeld()).toBe(false);
  });

  suite.it("keeps apart names of which one begins with another", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const names = ["a", "a/b", "a%2Fb", "ab", "lock/a", "lock/ab", "lock", "a/", "é"];
    const all = names.map((name, index) => exclusive.acquire((index % 2 === 0 ? one : other).conclave, name));
    const grants = await within(backend, scene.patienceMs, Promise.all(all));
    for (const grant of grants) expect(grant.isHeld()).toBe(true);
    await grants[0]?.release();
    for (const grant of grants.slice(1)) await present(backend.kv, grant.key);
  });

  suite.it("waits for a key that another program put in line before, and for no later one", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const [earlier, later] = [`${contest.line}7587854cd2f3a101`, `${contest.line}0587854cd2f3a102`];
    await write(backend.kv, { [earlier]: "" });
    const waiter = await contest.join(await start(scene));
    await write(backend.kv, { [later]: "" });
    await staysOpen(backend, scene, waiter.granted);
    await remove(backend.kv, earlier);
    const grant = await within(backend, scene.patienceMs, waiter.granted);
    expect(await contest.keys()).toEqual([grant.key, later]);
  });

  suite.it("lets another program's key that is next in line have its turn", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const foreign = `${contest.line}7587854cd2f3a101`;
    await write(backend.kv, { [foreign]: "" });
    const waiter = await contest.join(await start(scene));
    await holder.release();
    await staysOpen(backend, scene, waiter.granted);
    expect(await contest.keys()).toEqual([foreign, waiter.key]);
    await remove(backend.kv, foreign);
    await within(backend, scene.patienceMs, waiter.granted);
  });
}
