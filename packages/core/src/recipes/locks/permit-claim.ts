import { encode } from "../../bytes.ts";
import { decodeJson } from "../../json.ts";
import type { Entry } from "../../ports/kv.ts";
import { isCount } from "./semaphore-limit.ts";

/** What a key in the line says. */
export interface Claim {
  /** How many permits it is for. */
  readonly weight: number;
  readonly owner: string;
  /** Said once it was granted, so that who stands behind it looks again. */
  readonly granted: boolean;
}

/** What a key is to say. */
export function claimed(weight: number, owner: string, granted = false): Uint8Array {
  const claim: Claim = { weight, owner, granted };
  return encode(JSON.stringify(claim));
}

/** What the key says. What is not a claim, another program's key, is for one permit. */
export function claimOf(entry: Entry): Claim {
  let said: Partial<Claim> | null = {};
  try {
    said = decodeJson(entry) as Partial<Claim> | null;
  } catch {}
  const { weight, owner, granted } = { ...said };
  return {
    weight: isCount(weight) ? weight : 1,
    owner: typeof owner === "string" ? owner : "",
    granted: granted === true,
  };
}

/** How many permits they are for. */
export function sum(entries: readonly Entry[]): number {
  return entries.reduce((total, entry) => total + claimOf(entry).weight, 0);
}
