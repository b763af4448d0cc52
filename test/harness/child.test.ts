import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { runNode } from "./child.ts";
import { eventually } from "./eventually.ts";
import { leash } from "./leash.ts";

const parrot = new URL("./children/parrot.ts", import.meta.url);

test("a child gets its arguments and environment, and talks both ways", async () => {
  await using child = runNode(parrot, { args: ["a", "b"], env: { COLOR: "green" } });
  expect(await child.next()).toEqual({ args: ["a", "b"], color: "green" });
  child.send({ n: 1 });
  child.send({ n: 2 });
  expect(await child.next(({ n }) => n === 2)).toEqual({ n: 2 });
  expect(await child.next()).toEqual({ n: 1 });
  expect(child.output).toBe("not JSON\n");
});

test("its exit code is told, and waiting for a message from it then fails", async () => {
  await using child = runNode(parrot);
  child.send({ exit: 7 });
  expect(await child.exited).toEqual({ code: 7, signal: null });
  await child.next();
  await expect(child.next()).rejects.toThrow("code 7");
});

test("waiting for a message is bounded", async () => {
  await using child = runNode(parrot);
  await expect(child.next(({ never }) => never === true, 50)).rejects.toThrow("within 50 ms");
});

test("a paused child says nothing until it is resumed", async () => {
  await using child = runNode(parrot);
  await child.next();
  child.pause();
  child.send({ n: 1 });
  await expect(child.next(undefined, 200)).rejects.toThrow("within 200 ms");
  child.resume();
  expect(await child.next()).toEqual({ n: 1 });
});

test("killing waits for the end", async () => {
  const child = runNode(parrot);
  await child.next();
  expect(await child.kill("SIGTERM")).toEqual({ code: null, signal: "SIGTERM" });
  expect(isGone(child.pid)).toBe(true);
});

test("a leashed child dies with its parent, even when that is killed", async () => {
  const parent = runNode(new URL("./children/parent.ts", import.meta.url));
  const grandchild = Number((await parent.next())["pid"]);
  expect(isGone(grandchild)).toBe(false);
  await parent.kill("SIGKILL");
  await eventually(() => isGone(grandchild));
});

test("a child that was let go lives on", async () => {
  const child = runNode(parrot);
  await child.next();
  leash({ pid: child.pid } as never)();
  await sleep(100);
  expect(isGone(child.pid)).toBe(false);
  await child.kill();
});

/** Also true of one that is dead and only waits for somebody to take note. */
function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    const stat = `/proc/${pid}/stat`;
    return existsSync(stat) && readFileSync(stat, "utf8").includes(") Z ");
  } catch {
    return true;
  }
}
