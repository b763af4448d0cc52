import { expect } from "vitest";
import type { Suite } from "../context.ts";

/** What a get shows. */
export function reads(suite: Suite): void {
  suite.it("gives nothing for a key that is not there", async ({ kv }) => {
    expect(await kv.get("absent")).toBeUndefined();
  });
}
