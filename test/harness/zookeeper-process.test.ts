import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { eventually } from "./eventually.ts";
import { zookeeperBinaries } from "./servers.ts";
import { startEnsemble, startZooKeeper } from "./zookeeper-process.ts";

// An ensemble is three of Java, whose start takes a busy machine its time.
describe.each(zookeeperBinaries())("a $name of our own", { timeout: 60_000 }, (program) => {
  test("serves with the ticks it was told, and keeps its port over a kill and a restart", async () => {
    await using zookeeper = await startZooKeeper({ ...program, tickTimeMs: 500 });
    const { server, pid } = zookeeper;
    expect(await zookeeper.mode()).toBe("standalone");
    expect(await zookeeper.ask("conf")).toMatch(/^minSessionTimeout=1000$/m);
    await zookeeper.kill();
    expect(() => zookeeper.pid).toThrow("not running");
    await zookeeper.restart();
    expect(zookeeper.server).toBe(server);
    expect(zookeeper.pid).not.toBe(pid);
  });

  test("does not answer while paused, and does after", async () => {
    await using zookeeper = await startZooKeeper(program);
    zookeeper.pause();
    const answer = zookeeper.ask("ruok").then((text) => ({ text, at: performance.now() }));
    await sleep(300);
    const resumed = performance.now();
    zookeeper.resume();
    const { text, at } = await answer;
    expect(text).toBe("imok");
    expect(at).toBeGreaterThan(resumed);
  });

  test("as three, elects another leader when the first is killed, and takes the killed one back", async () => {
    await using ensemble = await startEnsemble(program);
    expect(await ensemble.followers()).toHaveLength(2);
    const first = await ensemble.leader();
    await first.kill();
    const second = await ensemble.leader();
    expect(second).not.toBe(first);
    await first.restart();
    await eventually(async () => (await ensemble.followers()).includes(first), { timeoutMs: 30_000 });
  });

  test("as three, chooses anew when the leader stands still, which then follows", async () => {
    await using ensemble = await startEnsemble(program);
    const first = await ensemble.leader();
    first.pause();
    expect(await ensemble.leader()).not.toBe(first);
    first.resume();
    await eventually(async () => (await first.mode()) === "follower", { timeoutMs: 30_000 });
  });
});

test("says why a zookeeper would not start", async () => {
  const program = zookeeperBinaries()[0] ?? { java: "/no/such/java", classPath: "" };
  const starting = startZooKeeper({ ...program, config: { tickTime: "soon" } });
  await expect(starting).rejects.toThrow("zookeeper ended while it started");
});
