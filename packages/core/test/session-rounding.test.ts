import { expect, test } from "vitest";
import { Session } from "../src/session.ts";
import { world } from "./kit.ts";

test("a session ends, and its timer stands not still, though sums of milliseconds are rounded", async () => {
  for (let sevenths = 240; sevenths < 280; sevenths++) {
    const { clock, backend, client } = await world();
    await clock.advance(sevenths / 7);
    const session = await Session.open(backend, { ttlMs: 100 });
    client.disconnect();
    clock.stepWall(-3_600_000);
    await clock.advance(100);
    expect(session.signal.aborted).toBe(true);
  }
});
