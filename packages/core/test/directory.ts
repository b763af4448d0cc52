import { type Conclave, connect, type Instances } from "@conclave/core";
import type { WatchBatch } from "@conclave/core/backend";
import { type World, world } from "./kit.ts";

export const ttlMs = 9_000;
export const intervalMs = ttlMs / 3;

export interface Scene extends World {
  readonly conclave: Conclave;
  readonly neighbour: Conclave;
  readonly warnings: string[];
  /** Every time the instance `x` was seen to go. */
  readonly gone: bigint[];
}

export async function connected(options: Parameters<typeof world>[0] = {}): Promise<Scene> {
  const here = await world(options);
  const warnings: string[] = [];
  const onWarning = (warning: string) => void warnings.push(warning);
  const conclave = await connect(here.backend, { ttlMs, onWarning });
  const neighbour = await connect(here.other, { ttlMs });
  const gone: bigint[] = [];
  const watch = await here.other.watches.watch({ prefix: "service/" });
  const tell = (batch: WatchBatch) => {
    if (!("gap" in batch)) for (const { modified, entry } of batch.changes) if (!entry) gone.push(modified);
  };
  void (async () => {
    for await (const batch of watch) tell(batch);
  })();
  return { ...here, conclave, neighbour, warnings, gone };
}

export const addresses = ({ snapshot }: Instances): string[] => snapshot.instances.map(({ address }) => address);
