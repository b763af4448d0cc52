import { connect } from "@conclave/core";
import type { Backend } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";

/** What a conclave on a backend tells an operator while it uses two recipes, one of them twice. */
async function toldOn(backend: Backend): Promise<readonly string[]> {
  const warnings: string[] = [];
  await using conclave = await connect(backend, { onWarning: (warning) => void warnings.push(warning) });
  await conclave.mutex("a").run(() => {});
  await conclave.mutex("b").tryAcquire();
  await conclave.counter("a").add(1n);
  await conclave.service("a").register({ address: "x:1" });
  return warnings;
}

/** The same backend, saying of itself that it may forget what it acknowledged, or that it does not. */
function saying(backend: Backend, mayForget: boolean): Backend {
  return { ...backend, guarantees: { ...backend.guarantees, mayForget } };
}

/** Where a failover may undo what was acknowledged, programs are told what that does to what they use. */
export function weakened(suite: Suite): void {
  suite.it("is said once for each recipe that is used, if the store may forget", async (backend) => {
    const warnings = await toldOn(saying(backend, true));
    expect(warnings).toEqual([
      expect.stringContaining("two processes may hold a mutex at once"),
      expect.stringContaining("a count may go back"),
    ]);
    for (const warning of warnings) expect(warning).toContain(` on ${backend.name}: `);
  });

  suite.it("is not said if the store does not forget", async (backend) => {
    expect(await toldOn(saying(backend, false))).toEqual([]);
  });

  suite.it("is said by this store as it says of itself", async (backend) => {
    expect(await toldOn(backend)).toHaveLength(backend.guarantees.mayForget ? 2 : 0);
  });
}
