// What a lock costs, beside what one would use on etcd from Node instead: `npm run bench`.
//
// Contenders take turns in windows of the same length, in an order that is reversed every round, so that a machine whose
// speed drifts drifts for all of them. A figure is the median of its rounds, a ratio the median of the rounds' ratios.
import { etcd } from "@conclave/backend-etcd";
import { type Conclave, connect } from "@conclave/core";
import { Etcd3 } from "etcd3";
import { locateServers } from "../scripts/servers/locate.mjs";
import { startEtcd } from "../test/harness/etcd-process.ts";

const rounds = Number(process.env["BENCH_ROUNDS"] ?? 5);
const windowMs = 1_500;

/** One thing to measure: `cycle` takes a lock of that name, through that client, and lets it go. */
interface Contender {
  readonly name: string;
  cycle(lock: string, client: number): Promise<void>;
}

/** `workers` at a time, each on a lock of its own or all on the same one, through so many clients. */
interface Setting {
  readonly title: string;
  readonly workers: number;
  readonly shared: boolean;
  readonly clients: number;
}

const settings: readonly Setting[] = [
  { title: "free, 1 worker", workers: 1, shared: false, clients: 1 },
  { title: "free, 16 workers", workers: 16, shared: false, clients: 1 },
  { title: "free, 64 workers", workers: 64, shared: false, clients: 1 },
  { title: "contended, 16 clients", workers: 16, shared: true, clients: 16 },
  { title: "contended, 1 client", workers: 64, shared: true, clients: 1 },
];

async function cyclesPerSecond(contender: Contender, setting: Setting, round: number): Promise<number> {
  const endMs = performance.now() + windowMs;
  let cycles = 0;
  const work = async (worker: number): Promise<void> => {
    const lock = `bench-${setting.title}-${round}-${contender.name}-${setting.shared ? "all" : worker}`;
    while (performance.now() < endMs) {
      await contender.cycle(lock, worker % setting.clients);
      if (performance.now() < endMs) cycles += 1;
    }
  };
  await Promise.all(Array.from({ length: setting.workers }, (_, worker) => work(worker)));
  return cycles / (windowMs / 1_000);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const [below = 0, at = 0] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 0 ? (below + at) / 2 : at;
}

const [server] = locateServers().etcds;
if (server === undefined) throw new Error("there is no etcd here; `npm run servers` brings one");
await using process_ = await startEtcd({ binary: server.binary });
const mostClients = Math.max(...settings.map(({ clients }) => clients));
const conclaves = await Promise.all(
  Array.from({ length: mostClients }, () => connect(etcd({ endpoints: [process_.endpoint] }), { namespace: "bench" })),
);
const etcd3s = Array.from({ length: mostClients }, () => new Etcd3({ hosts: process_.endpoint }));

const contenders: readonly Contender[] = [
  {
    name: "conclave",
    cycle: async (lock, client) => {
      await using _ = await (conclaves[client] as Conclave).mutex(lock).acquire();
    },
  },
  {
    // Its lock is not waited for: one that is taken fails at once, and is tried for again after 5 to 15 ms.
    name: "etcd3",
    cycle: async (name, client) => {
      for (;;) {
        const lock = (etcd3s[client] as Etcd3).lock(name).ttl(10);
        try {
          await lock.acquire();
          return await lock.release();
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 5 + 10 * Math.random()));
        }
      }
    },
  },
];

console.log(`acquire + release, cycles per second; etcd ${server.version}, ${rounds} rounds of ${windowMs} ms\n`);
for (const contender of contenders)
  await cyclesPerSecond(contender, { title: "warm-up", workers: 16, shared: false, clients: mostClients }, 0);
console.log(["".padEnd(24), ...contenders.map(({ name }) => name.padStart(12)), "ratio".padStart(12)].join(""));
for (const setting of settings) {
  const figures = new Map(contenders.map((contender) => [contender, [] as number[]]));
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? contenders : contenders.toReversed();
    for (const contender of order) figures.get(contender)?.push(await cyclesPerSecond(contender, setting, round));
  }
  const [ours = [], theirs = []] = [...figures.values()];
  const ratio = median(ours.map((figure, round) => figure / (theirs[round] as number)));
  const cells = [...figures.values()].map((values) => median(values).toFixed(0).padStart(12));
  console.log([setting.title.padEnd(24), ...cells, `${ratio.toFixed(1)} x`.padStart(12)].join(""));
}
for (const conclave of conclaves) await conclave.close();
for (const client of etcd3s) client.close();
process.exit(0);
