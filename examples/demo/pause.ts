import { FencedTable } from "../support/fenced-table.ts";
import { lineOf } from "./line-of.ts";
import type { Scene } from "./stage.ts";

/** Truthful handles: a holder that was stopped for too long knows in its first line that it holds no more. */
export const pause: Scene = {
  title: "A holder is stopped for longer than its lease, and finds out at once",

  async play(stage) {
    const packer = await stage.start("packer");
    // In this demonstration everybody shares one event loop and stops too, so the other one has a longer lease.
    const standby = await stage.start("standby", { ttlMs: 5 * stage.ttlMs });
    const orders = new FencedTable<string>();

    const hold = await packer.conclave.mutex("order 42").acquire();
    stage.say(packer, `has the lock, with token ${hold.token}`);
    const turn = standby.conclave.mutex("order 42").acquire();
    stage.say(standby, "waits for it");
    await lineOf(2, packer.conclave.mutex("order 42"));
    const heldBefore = hold.isHeld();

    const pauseMs = stage.ttlMs + 100;
    stage.say(packer, `stops for ${pauseMs} ms, as in a long garbage collection`);
    stopEverything(pauseMs);
    const heldAfter = hold.isHeld();
    stage.say(packer, heldAfter ? "believes that it still has the lock" : "knows at once that the lock is lost");
    stage.check("a holder that was stopped too long knew at once", heldBefore && !heldAfter);

    const next = await turn;
    stage.say(standby, `has the lock, with token ${next.token}`);
    stage.check("the next in line got the lock", next.isHeld() && next.token > hold.token);

    const written = orders.write("42", "shipped", next.token);
    stage.say(standby, "writes order 42 under its token");
    const late = orders.write("42", "packed", hold.token);
    stage.say(packer, `had a write under way, which arrives late: ${late ? "accepted" : "refused, its token is old"}`);
    stage.check("a late write was refused by its token", written && !late && orders.get("42") === "shipped");
  },
};

/** Nothing in this process moves meanwhile, timers and sockets included. */
function stopEverything(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
