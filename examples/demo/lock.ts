import { setTimeout as sleep } from "node:timers/promises";
import { lineOf } from "./line-of.ts";
import type { Actor, Scene } from "./stage.ts";

/** The mutex: one at a time, in the order asked for, each with a larger token than the one before. */
export const lock: Scene = {
  title: "Five workers pass one lock round",

  async play(stage) {
    const workers = await Promise.all([1, 2, 3, 4, 5].map((number) => stage.start(`worker ${number}`)));
    const grants: { readonly worker: Actor; readonly token: bigint }[] = [];
    let inside = 0;
    let most = 0;

    const turn = (worker: Actor) =>
      worker.conclave.mutex("kiln").run(async ({ token }) => {
        inside += 1;
        most = Math.max(most, inside);
        const first = grants.push({ worker, token }) === 1;
        stage.say(worker, `has the lock, with token ${token}`);
        if (first) await lineOf(workers.length, worker.conclave.mutex("kiln")); // forms before it moves
        await sleep(40);
        inside -= 1;
      });
    await Promise.all(
      workers.map(async (worker) => {
        await turn(worker);
        await turn(worker);
      }),
    );

    stage.check("five workers used one lock ten times, never two at once", most === 1 && grants.length === 10);
    const firstRound = new Set(grants.slice(0, workers.length).map(({ worker }) => worker));
    stage.check("nobody came again before everybody had come", firstRound.size === workers.length);
    const grew = grants.every(({ token }, index) => token > (grants[index - 1]?.token ?? 0n));
    stage.check("every grant brought a larger token", grew);
  },
};
