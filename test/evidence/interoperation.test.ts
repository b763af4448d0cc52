import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { etcd } from "@conclave/backend-etcd";
import { connect } from "@conclave/core";
import { describe, expect, test } from "vitest";
import { runNode } from "../harness/child.ts";
import { eventually } from "../harness/eventually.ts";
import { leash } from "../harness/leash.ts";
import { type EtcdServer, etcdServers } from "../harness/servers.ts";

/** An `etcdctl` that waits for its turn, says so by printing its key, and has it until it is told to end. */
function etcdctl({ etcdctl: binary = "etcdctl", endpoint }: EtcdServer, ...args: string[]) {
  const child: ChildProcess = spawn(binary, ["--endpoints", endpoint, ...args], {
    env: { ...process.env, ETCDCTL_API: "3" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const letGo = leash(child);
  let printed = "";
  child.stdout?.on("data", (chunk) => {
    printed += chunk;
  });
  const exited = once(child, "exit").then(letGo);
  return {
    hasIt: () => printed.includes("/"),
    key: () => printed.split("\n")[0] ?? "",
    hadIt: () => eventually(() => printed.includes("/"), { timeoutMs: 20_000 }),
    async end(signal: NodeJS.Signals = "SIGINT") {
      child.kill(signal);
      await exited;
    },
  };
}

describe.each(etcdServers().filter((server) => server.etcdctl))("with the etcdctl of $name", (server) => {
  const open = () => connect(etcd({ endpoints: [server.endpoint] }), { ttlMs: 3_000 });

  test("our mutex waits for `etcdctl lock`, and gets it when that ends or is killed", async () => {
    await using conclave = await open();
    for (const signal of ["SIGINT", "SIGKILL"] as const) {
      const prefix = `/interop/theirs-first-${signal}`;
      const theirs = etcdctl(server, "lock", "--ttl=2", prefix);
      await theirs.hadIt();
      const ours = conclave.mutex({ prefix: `${prefix}/` }).acquire();
      await eventually(async () => (await conclave.mutex({ prefix: `${prefix}/` }).queue()).length === 2);
      let granted = false;
      void ours.then(() => {
        granted = true;
      });
      expect(await conclave.mutex({ prefix: `${prefix}/` }).tryAcquire()).toBeUndefined();
      expect(granted).toBe(false);
      await theirs.end(signal);
      await using hold = await ours;
      expect(hold.isHeld()).toBe(true);
    }
  }, 60_000);

  test("`etcdctl lock` waits for our mutex, and gets it when that is released or its process is gone", async () => {
    for (const way of ["release", "close"] as const) {
      await using conclave = await open();
      const prefix = `/interop/ours-first-${way}`;
      const hold = await conclave.mutex({ prefix: `${prefix}/` }).acquire();
      const theirs = etcdctl(server, "lock", "--ttl=2", prefix);
      await eventually(async () => (await conclave.mutex({ prefix: `${prefix}/` }).queue()).length === 2);
      expect(theirs.hasIt()).toBe(false);
      if (way === "release") await hold.release();
      else await conclave.close();
      await theirs.hadIt();
      await theirs.end();
    }
  }, 60_000);

  test("`etcdctl lock` and `etcdctl elect` wait for a process of ours, and get their turn when it is killed", async () => {
    await using conclave = await open();
    const [lock, election] = ["/interop/our-dead-holder", "/interop/our-dead-leader"];
    await using child = runNode(new URL("./children/contender.ts", import.meta.url), {
      args: [server.endpoint, "2000", `${lock}/`, `${election}/`],
    });
    await child.next(({ holding }) => holding === true, 20_000);
    const theirs = [etcdctl(server, "lock", "--ttl=2", lock), etcdctl(server, "elect", election, "theirs")];
    for (const prefix of [lock, election]) {
      await eventually(async () => (await conclave.kv.list(`${prefix}/`)).entries.length === 2);
    }
    expect(theirs.map(({ hasIt }) => hasIt())).toEqual([false, false]);
    await child.kill("SIGKILL");
    await Promise.all(theirs.map(({ hadIt }) => hadIt()));
    expect((await conclave.election({ prefix: `${election}/` }).leader())?.value).toBe("theirs");
    await Promise.all(theirs.map(({ end }) => end()));
  }, 60_000);

  test("of theirs and ours in one line, two at a time never both hold", async () => {
    const prefix = "/interop/mixed";
    let holders = 0;
    let grants = 0;
    const inTurn = async (release: () => Promise<void>) => {
      holders += 1;
      grants += 1;
      expect(holders).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(holders).toBe(1);
      holders -= 1;
      await release();
    };
    const theirs = async () => {
      for (let round = 0; round < 4; round++) {
        const lock = etcdctl(server, "lock", "--ttl=5", prefix);
        await lock.hadIt();
        await inTurn(() => lock.end());
      }
    };
    const ours = async () => {
      await using conclave = await open();
      for (let round = 0; round < 8; round++) {
        const hold = await conclave.mutex({ prefix: `${prefix}/` }).acquire();
        await inTurn(() => hold.release());
      }
    };
    await Promise.all([theirs(), theirs(), ours(), ours()]);
    expect(grants).toBe(24);
  }, 60_000);

  test("our candidate waits for the one of `etcdctl elect`, sees what it proclaims, and leads when it ends", async () => {
    await using conclave = await open();
    const prefix = "/interop/their-leader";
    const election = conclave.election({ prefix: `${prefix}/` });
    const theirs = etcdctl(server, "elect", prefix, "theirs");
    await theirs.hadIt();
    expect((await election.leader())?.value).toBe("theirs");
    const ours = election.campaign({ value: "ours" });
    await eventually(async () => (await conclave.kv.list(`${prefix}/`)).entries.length === 2);
    expect((await election.leader())?.value).toBe("theirs");
    await theirs.end();
    await using leadership = await ours;
    expect((await election.leader())?.value).toBe("ours");
    expect(leadership.isHeld()).toBe(true);
  }, 30_000);

  test("a killed `etcdctl elect` is followed by our candidate as soon as its lease ends", async () => {
    await using conclave = await open();
    const prefix = "/interop/their-dead-leader";
    const election = conclave.election({ prefix: `${prefix}/` });
    const theirs = etcdctl(server, "elect", prefix, "theirs");
    await theirs.hadIt();
    const ours = election.campaign({ value: "ours" });
    await eventually(async () => (await conclave.kv.list(`${prefix}/`)).entries.length === 2);
    await theirs.end("SIGKILL");
    // Its lease lives for a minute, which etcdctl does not let one choose: its end is brought forward.
    await etcdctl(server, "lease", "revoke", theirs.key().slice(prefix.length + 1)).end("SIGCONT");
    await using leadership = await ours;
    expect(leadership.isHeld()).toBe(true);
  }, 30_000);

  test("`etcdctl elect` waits for our leader, and `etcdctl elect --listen` sees it", async () => {
    await using conclave = await open();
    const prefix = "/interop/our-leader";
    const leadership = await conclave.election({ prefix: `${prefix}/` }).campaign({ value: "ours" });
    const listener = etcdctl(server, "elect", "--listen", prefix);
    await listener.hadIt();
    expect(listener.key()).toBe(leadership.key);
    const theirs = etcdctl(server, "elect", prefix, "theirs");
    await eventually(async () => (await conclave.kv.list(`${prefix}/`)).entries.length === 2);
    expect(theirs.hasIt()).toBe(false);
    await leadership.resign();
    await theirs.hadIt();
    await Promise.all([theirs.end(), listener.end()]);
  }, 30_000);
});
