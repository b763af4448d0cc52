import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../../../test/harness/eventually.ts";
import { freePort } from "../../../test/harness/ports.ts";
import { startProxy, type TcpProxy } from "../../../test/harness/tcp-proxy.ts";
import { startZooKeeper, type ZooKeeper, type ZooKeeperOptions } from "../../../test/harness/zookeeper-process.ts";

/** Three servers, between which every way can be cut. */
export interface DivisibleEnsemble extends AsyncDisposable {
  readonly leader: ZooKeeper;
  readonly followers: readonly ZooKeeper[];
  /** Swallows what this server and the others say to each other. Clients still reach it. */
  isolate(member: ZooKeeper): void;
}

/** Starts one, in which each server reaches each other by proxies of its own, and waits until there is a leader. */
export async function startDivisibleEnsemble(options: ZooKeeperOptions): Promise<DivisibleEnsemble> {
  const folder = mkdtempSync(join(tmpdir(), "conclave-divisible-"));
  const ids = [1, 2, 3];
  const ports = new Map<number, readonly [peer: number, election: number]>();
  for (const id of ids) ports.set(id, [await freePort(), await freePort()]);
  const ways: { readonly between: readonly number[]; readonly proxy: TcpProxy }[] = [];
  const starts = ids.map(async (id) => {
    const dataDir = mkdtempSync(join(folder, `${id}-`));
    writeFileSync(join(dataDir, "myid"), `${id}\n`);
    const config: Record<string, string | number> = { dataDir, ...options.config };
    for (const [other, addresses] of ports) {
      // A server listens where it is said to be itself.
      const reached = other === id ? addresses : await Promise.all(addresses.map((port) => reach(id, other, port)));
      config[`server.${other}`] = `127.0.0.1:${reached.join(":")}`;
    }
    return startZooKeeper({ ...options, config });
  });
  async function reach(id: number, other: number, port: number): Promise<number> {
    const proxy = await startProxy(`127.0.0.1:${port}`);
    ways.push({ between: [id, other], proxy });
    return proxy.port;
  }
  const members = await Promise.all(starts);
  const leads = async (member: ZooKeeper) => (await member.mode().catch(() => "none")) === "leader";
  const leader = await eventually(
    async () => {
      for (const member of members) if (await leads(member)) return member;
      return false;
    },
    { timeoutMs: 20_000 },
  );
  return {
    leader,
    followers: members.filter((member) => member !== leader),
    isolate(member) {
      const id = ids[members.indexOf(member)] as number;
      for (const { between, proxy } of ways) if (between.includes(id)) proxy.blackHole();
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(members.map((member) => member.stop()));
      await Promise.all(ways.map(({ proxy }) => proxy.stop()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
