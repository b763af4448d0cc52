import type { Stat as RawStat } from "node-zookeeper-client";

/** What ZooKeeper tells of a node. */
export interface Stat {
  /** The transaction that created it. */
  readonly czxid: bigint;
  /** The one that last wrote its data. */
  readonly mzxid: bigint;
  /** The one that last added or removed a child. */
  readonly pzxid: bigint;
  /** How often its data was written since it was created. */
  readonly version: number;
  /** How often a child was added or removed. */
  readonly cversion: number;
  /** The session it lives with; 0n when with none. */
  readonly ephemeralOwner: bigint;
  readonly numChildren: number;
}

/** The client leaves 64-bit numbers as their bytes. */
export function statFrom(raw: RawStat): Stat {
  return {
    czxid: raw.czxid.readBigInt64BE(),
    mzxid: raw.mzxid.readBigInt64BE(),
    pzxid: raw.pzxid.readBigInt64BE(),
    version: raw.version,
    cversion: raw.cversion,
    ephemeralOwner: raw.ephemeralOwner.readBigUInt64BE(),
    numChildren: raw.numChildren,
  };
}

/**
 * One step of a multi. `version` is one that was read, so 1 or more, or absent for "whatever it is": 0 would be sent as
 * "any", and is refused with a `RangeError`. Create a node and set it in the same multi, and it starts at version 1.
 */
export type MultiOp =
  | { readonly create: string; readonly data?: Buffer | undefined; readonly ephemeral?: boolean | undefined }
  | { readonly set: string; readonly data: Buffer; readonly version?: number | undefined }
  | { readonly remove: string; readonly version?: number | undefined }
  | { readonly check: string; readonly version?: number | undefined };

/** Why a multi was not applied, of what may be so without a fault. */
export type Refusal = "NO_NODE" | "NODE_EXISTS" | "BAD_VERSION" | "NOT_EMPTY" | "NO_CHILDREN_FOR_EPHEMERALS";

/** What became of a multi: all of it at `zxid`, with the stat of every `set`; or nothing, because of step `index`. */
export type MultiAnswer =
  | { readonly applied: true; readonly zxid: bigint; readonly stats: readonly (Stat | undefined)[] }
  | { readonly applied: false; readonly zxid: bigint; readonly index: number; readonly refusal: Refusal };

/** Error codes, as ZooKeeper's `KeeperException.Code` numbers them. */
export const code = {
  connectionLoss: -4,
  unimplemented: -6,
  badArguments: -8,
  noNode: -101,
  noAuth: -102,
  badVersion: -103,
  noChildrenForEphemerals: -108,
  nodeExists: -110,
  notEmpty: -111,
  sessionExpired: -112,
  invalidAcl: -114,
  authFailed: -115,
  sessionMoved: -118,
  quotaExceeded: -125,
  throttled: -127,
} as const;

const refusals: ReadonlyMap<number, Refusal> = new Map([
  [code.noNode, "NO_NODE"],
  [code.nodeExists, "NODE_EXISTS"],
  [code.badVersion, "BAD_VERSION"],
  [code.notEmpty, "NOT_EMPTY"],
  [code.noChildrenForEphemerals, "NO_CHILDREN_FOR_EPHEMERALS"],
]);

/** What one step of a multi came to, as the client has it. */
export interface RawResult {
  /** Of a step that was refused, or not reached, or undone: 0 when it was not this one's fault. */
  readonly err?: number;
  readonly stat?: RawStat;
}

/** The step that made a multi fail: those before it say 0, those after it that something else went wrong. */
export function failedStep(
  results: readonly RawResult[],
): { readonly index: number; readonly err: number } | undefined {
  const index = results.findIndex(({ err = 0 }) => err !== 0);
  return index < 0 ? undefined : { index, err: results[index]?.err as number };
}

/** Undefined when the multi failed for no everyday reason. */
export function multiAnswer(results: readonly RawResult[], zxid: bigint): MultiAnswer | undefined {
  const failed = failedStep(results);
  if (failed === undefined) {
    return { applied: true, zxid, stats: results.map(({ stat }) => stat && statFrom(stat)) };
  }
  const refusal = refusals.get(failed.err);
  return refusal && { applied: false, zxid, index: failed.index, refusal };
}
