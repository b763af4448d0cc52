import { memory } from "@conclave/backend-memory";
import { connect } from "@conclave/core";
import { scoped } from "@conclave/core/backend";
import { expect, test } from "vitest";

test("closing does not wait for a session that the store does not answer", async () => {
  const backend = scoped(await memory().connect(), "");
  const grant = ({ signal }: { readonly signal?: AbortSignal | undefined }) =>
    new Promise<never>((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  const conclave = await connect({ ...backend, leases: { grant } });
  const waiting = conclave.mutex("a").acquire();
  await conclave.close();
  await expect(waiting).rejects.toMatchObject({ code: "CLOSED" });
});
