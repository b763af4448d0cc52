// The promises of Conclave, kept before your eyes: `npm run demo`, or `npm run demo -- --backend etcd://127.0.0.1:2379`.
import { parseArgs } from "node:util";
import { isCoordinationError } from "@conclave/core";
import { directory } from "./demo/directory.ts";
import { leader } from "./demo/leader.ts";
import { lock } from "./demo/lock.ts";
import { pause } from "./demo/pause.ts";
import { etcdGround, type Ground, memoryGround, Refuted, Stage } from "./demo/stage.ts";
import { Timeline } from "./demo/timeline.ts";

const usage = "usage: npm run demo -- [--backend memory | etcd://host:port]";

async function main(args: readonly string[]): Promise<void> {
  const backend = backendFrom(args);
  if (backend === "help") return console.log(usage);
  await perform(backend === "memory" ? memoryGround() : await etcdGround(backend));
}

class Misused extends Error {}

function backendFrom(args: readonly string[]): "help" | "memory" | { readonly host: string; readonly port: number } {
  const options = {
    backend: { type: "string", default: process.env["BACKEND"] ?? "memory" },
    help: { type: "boolean" },
  } as const;
  let backend: string;
  try {
    const { values } = parseArgs({ args: [...args], options });
    if (values.help) return "help";
    ({ backend } = values);
  } catch (error) {
    throw new Misused((error as Error).message, { cause: error });
  }
  if (backend === "memory") return "memory";
  const [, host, port] = /^etcd:\/\/([^/:]+):(\d+)$/.exec(backend) ?? [];
  if (host === undefined) throw new Misused(`there is no backend ${backend}`);
  return { host, port: Number(port) };
}

async function perform(ground: Ground): Promise<void> {
  const timeline = new Timeline();
  timeline.title(`Conclave on ${ground.name}, with leases of ${ground.ttlMs} ms`);
  const claims: string[] = [];
  for (const scene of [directory, lock, leader, pause]) {
    timeline.scene(scene.title);
    await using stage = new Stage(ground, timeline);
    await stage.play(scene);
    claims.push(...stage.claims);
  }
  timeline.summary(claims);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = 1;
  if (error instanceof Misused) console.error(`${error.message}\n${usage}`);
  else if (error instanceof Refuted || isCoordinationError(error)) console.error(`\n${error.message}`);
  else throw error;
}
