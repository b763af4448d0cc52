import { type Conclave, connect } from "@conclave/core";
import type { Connector } from "@conclave/core/backend";
import { type Contender, many } from "./compare.ts";

/** Our mutex on some store. */
export async function conclaveOn(connector: Connector): Promise<Contender & AsyncDisposable> {
  const conclaves = await many(() => connect(connector, { namespace: "bench" }));
  return {
    name: "conclave",
    async cycle(lock, client) {
      await using _ = await (conclaves[client] as Conclave).mutex(lock).acquire();
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(conclaves.map((conclave) => conclave.close()));
    },
  };
}
