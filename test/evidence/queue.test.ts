import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { etcd } from "@conclave/backend-etcd";
import { connect } from "@conclave/core";
import { expect, test } from "vitest";
import { type Child, runNode } from "../harness/child.ts";
import { eventually } from "../harness/eventually.ts";
import { etcdServers } from "../harness/servers.ts";
import type { Task } from "./queue-tasks.ts";

const items = 5_000;
/** Every so many is poisoned: no worker ever acknowledges it. */
const poisonedEvery = 250;
const kills = 30;
const workers = 4;
const ttlMs = 2_000;
/** More than an item that is not poisoned can be delivered: once for each worker that is killed, and once more. */
const maxDeliveries = kills + 2;
/** The servers with the fixes that the safety claims need. */
const servers = etcdServers().filter(({ version }) => !version.startsWith("3.4."));

/** One line of what the workers wrote, in the order in which they wrote it. */
type Line = { readonly begun: string; readonly deliveries: number } | { readonly acked: string };

let started = 0;

function startWorker(endpoint: string, name: string, file: string): Child {
  const way = started++ % 2 === 0 ? "jobs" : "batches";
  const args = [endpoint, String(ttlMs), name, String(maxDeliveries), file, way];
  return runNode(new URL("./children/worker.ts", import.meta.url), { args });
}

test.each(servers)(
  "a queue on $name loses nothing and repeats nothing that was acknowledged, while workers are killed",
  async ({ endpoint }) => {
    const directory = await mkdtemp(join(tmpdir(), "conclave-queue-"));
    const file = join(directory, "log");
    const name = `killed/${crypto.randomUUID()}`;
    await using conclave = await connect(etcd({ endpoints: [endpoint] }));
    const queue = conclave.queue<Task>(name, { maxDeliveries });

    const crew: Child[] = Array.from({ length: workers }, () => startWorker(endpoint, name, file));
    const enqueued = new Map<string, Task>();
    const producing = (async () => {
      // Spread over the time of the kills, so that there is work whenever one strikes.
      for (let from = 0; from < items; from += 40) {
        const tasks = Array.from({ length: 40 }, (_, index) => {
          const number = from + index;
          return { number, poisoned: number % poisonedEvery === 0 };
        });
        const ids = await queue.enqueueAll(tasks.map((value) => ({ value })));
        for (const [index, id] of ids.entries()) enqueued.set(id, tasks[index] as Task);
        await sleep((kills * 1_000) / (items / 40) - 20);
      }
    })();

    let killed = 0;
    try {
      while (killed < kills) {
        // The one that has worked longest, so that each gets to work at all.
        const victim = crew.shift() as Child;
        await Promise.all([sleep(1_000), victim.next(({ working }) => working === true, 60_000)]);
        await victim.kill();
        killed += 1;
        crew.push(startWorker(endpoint, name, file));
      }
      await producing;
      await eventually(async () => expect(await queue.counts()).toMatchObject({ waiting: 0, claimed: 0 }), {
        timeoutMs: 240_000,
        everyMs: 250,
      });
      expect(
        crew.map(({ output }) => output),
        "what the workers complained of",
      ).toEqual(Array(workers).fill(""));
    } finally {
      for (const child of crew) await child.kill();
    }

    const text = await readFile(file, "utf8");
    await rm(directory, { recursive: true });
    const acked = new Set<string>();
    const begun = new Map<string, number>();
    const again: string[] = [];
    for (const line of text
      .trimEnd()
      .split("\n")
      .map((one) => JSON.parse(one) as Line)) {
      if ("acked" in line) acked.add(line.acked);
      else {
        if (acked.has(line.begun)) again.push(line.begun);
        begun.set(line.begun, line.deliveries);
      }
    }
    expect(killed).toBeGreaterThanOrEqual(25);
    expect(enqueued.size).toBe(items);
    expect(again, "delivered after its acknowledgement resolved").toEqual([]);
    expect(begun.size, "every item was delivered").toBe(items);
    const poisoned = [...enqueued].filter(([, task]) => task.poisoned).map(([id]) => id);
    const letters = await queue.deadLetters({ limit: 100 });
    expect(letters.map(({ id }) => id).sort()).toEqual(poisoned.sort());
    expect(poisoned.filter((id) => acked.has(id))).toEqual([]);
    // A worker that was killed between its acknowledgement and its note of it has left no note: few, and none is lost.
    const silent = items - poisoned.length - acked.size;
    expect(silent).toBeLessThan(kills * 16);
    expect(
      [...begun.values()].filter((deliveries) => deliveries > 1).length,
      "some were delivered anew",
    ).toBeGreaterThan(0);
    expect(await queue.discardDead(poisoned)).toBe(poisoned.length);
    const leftovers = await conclave.kv.list(`queue/${name.replaceAll("/", "%2F")}/`);
    expect(leftovers.entries).toEqual([]);
  },
  600_000,
);
