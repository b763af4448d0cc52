import { describe, expect, test } from "vitest";
import { runNode } from "../harness/child.ts";
import { startEtcd } from "../harness/etcd-process.ts";
import { etcdBinaries } from "../harness/servers.ts";

describe.each(etcdBinaries())("with $name", ({ binary }) => {
  test("a process that used everything exits by itself within two seconds of close", async () => {
    await using server = await startEtcd({ binary });
    await using child = runNode(new URL("./children/closes.ts", import.meta.url), { args: [server.endpoint] });
    await child.next(({ closed }) => closed === true, 20_000);
    const closedAt = performance.now();
    expect(await child.exited).toEqual({ code: 0, signal: null });
    expect(performance.now() - closedAt).toBeLessThan(2_000);
    expect(child.output).toBe("");
  });

  test("a process that used everything exits by itself after close when the server stands still", async () => {
    await using server = await startEtcd({ binary });
    await using child = runNode(new URL("./children/closes.ts", import.meta.url), { args: [server.endpoint, "wait"] });
    await child.next(({ ready }) => ready === true, 20_000);
    server.pause();
    child.send({ close: true });
    const told = performance.now();
    expect(await child.exited).toEqual({ code: 0, signal: null });
    expect(performance.now() - told).toBeLessThan(8_000);
  });

  test("a thousand connects and closes leave handles, listeners and leases where they were", async () => {
    await using server = await startEtcd({ binary });
    await using child = runNode(new URL("./children/cycles.ts", import.meta.url), { args: [server.endpoint, "1000"] });
    const { before, after, cycles } = (await child.next(({ cycles }) => cycles !== undefined, 110_000)) as {
      before: Record<string, number>;
      after: Record<string, number>;
      cycles: number;
    };
    expect(cycles).toBe(1_000);
    expect(after).toEqual(before);
    expect(await child.exited).toEqual({ code: 0, signal: null });
    expect(await server.etcdctl("lease", "list")).toContain("found 0 leases");
    expect(child.output).toBe("");
  }, 120_000);
});
