// The promises of Conclave, kept before your eyes: `npm run demo`, or `npm run demo -- --backend redis://127.0.0.1:6379`.
import { parseArgs } from "node:util";
import { isCoordinationError } from "@conclave/core";
import { directory } from "./demo/directory.ts";
import { type Ground, groundAt } from "./demo/ground.ts";
import { leader } from "./demo/leader.ts";
import { lock } from "./demo/lock.ts";
import { pause } from "./demo/pause.ts";
import { Refuted, Stage } from "./demo/stage.ts";
import { Timeline } from "./demo/timeline.ts";

const usage =
  "usage: npm run demo -- [--backend memory: | etcd://host:port | redis://host:port | zookeeper://host:port]";

async function main(args: readonly string[]): Promise<void> {
  const open = groundFrom(args);
  if (open === undefined) return console.log(usage);
  await perform(await open());
}

class Misused extends Error {}

/** How to open what the arguments name; nothing when they ask for help. */
function groundFrom(args: readonly string[]): (() => Promise<Ground>) | undefined {
  const options = {
    backend: { type: "string", default: process.env["BACKEND"] ?? "memory:" },
    help: { type: "boolean" },
  } as const;
  try {
    const { values } = parseArgs({ args: [...args], options });
    return values.help ? undefined : groundAt(values.backend);
  } catch (error) {
    throw new Misused((error as Error).message, { cause: error });
  }
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
