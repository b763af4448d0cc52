// A double barrier: the workers of a simulation begin each step together, and end it together.
import assert from "node:assert/strict";
import { type Conclave, connect, isCoordinationError, type Passage } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
const names = ["north", "south", "west"];
// Clients of one store stand for processes.
await using north = await connect(store, { namespace: "example-double-barrier", owner: "north" });
await using south = await connect(store, { namespace: "example-double-barrier", owner: "south" });
await using west = await connect(store, { namespace: "example-double-barrier", owner: "west" });
const workers = [north, south, west];

const log: string[] = [];

async function simulate(name: string, conclave: Conclave): Promise<void> {
  // #region run
  const step = conclave.doubleBarrier("step", { count: 3 });
  for (let steps = 0; steps < 3; steps++) {
    await step.run(({ generation, signal }) => {
      signal.throwIfAborted(); // aborts when another worker died: the step is void
      log.push(`${generation} ${name}`);
    });
  } // all three have ended the step
  // #endregion
}

await Promise.all(workers.map((conclave, index) => simulate(names[index] as string, conclave)));
const steps = log.map((line) => line.slice(0, 1));
assert.deepEqual(steps, ["1", "1", "1", "2", "2", "2", "3", "3", "3"]);
console.log(`no step began before the last was over: ${steps.join(" ")}`);

const entering = workers.map((conclave) => conclave.doubleBarrier("step", { count: 3 }).enter());

// #region enter
await using passage = await (entering[0] as Promise<Passage>); // what step.enter() gave
console.log(`step ${passage.generation}, with token ${passage.token}, inside: ${passage.isHeld()}`);
// #endregion

await entering[1];
await entering[2];
await west.close(); // as if it had died

// #region broken
try {
  await passage.leave();
} catch (error) {
  if (!isCoordinationError(error, "BROKEN")) throw error;
  console.log("a worker died inside: nobody may rely on what this step did");
}
// #endregion
await assert.rejects(async () => (await entering[1])?.leave(), { code: "BROKEN" });
await assert.rejects(passage.leave(), { code: "BROKEN" });

await north.kv.commit({ then: [{ delete: "doublebarrier/step/round" }] }); // who is done for good may tidy up
