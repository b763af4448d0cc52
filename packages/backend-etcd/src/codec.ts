import type {
  Change,
  Commit,
  Condition,
  Entry,
  Listing,
  Operation,
  Revision,
  Selection,
  Txn,
} from "@conclave/core/backend";
import { decode, wrongType } from "@conclave/core/backend";
import {
  CompareResult,
  CompareTarget,
  type ICompare,
  type IEvent,
  type IKeyValue,
  type IRangeRequest,
  type IRequestOp,
  type IResponseOp,
  type ITxnRequest,
  type ITxnResponse,
  SortOrder,
  SortTarget,
} from "etcd3";

const largest = 2n ** 63n - 1n;
const nul = Buffer.of(0);

/** A range of keys as etcd has it. A single key must go without `range_end`: an empty one would mean "to the end". */
export interface KeyRange {
  readonly key: Buffer;
  readonly range_end?: Buffer;
}

export function keyRange(key: string): KeyRange {
  return { key: Buffer.from(key) };
}

/** Everything below a prefix: up to the same bytes with the last one raised, which in UTF-8 is never the highest. */
export function prefixRange(prefix: string): Required<KeyRange> {
  if (prefix === "") return { key: nul, range_end: nul };
  const key = Buffer.from(prefix);
  const end = Buffer.from(key);
  end[end.length - 1] = (end.at(-1) as number) + 1;
  return { key, range_end: end };
}

/** The next key there can be. */
export function successor(key: Uint8Array): Buffer {
  return Buffer.concat([key, nul]);
}

/** What to ask for a selection. With an order by creation it asks for one entry more than the limit, for `decodeList`. */
export function encodeList(prefix: string, selection: Selection): IRangeRequest {
  const { order = "key", limit, createdBefore, startAfter, keysOnly } = selection;
  let range: KeyRange = prefixRange(prefix);
  let nothing = createdBefore !== undefined && createdBefore <= 1n;
  if (startAfter !== undefined) {
    const after = successor(Buffer.from(startAfter));
    if (after.compare(range.key) > 0) {
      if (prefix !== "" && after.compare(range.range_end as Buffer) >= 0) nothing = true;
      else range = { ...range, key: after };
    }
  }
  if (nothing) return { ...keyRange(prefix === "" ? "\0" : prefix), min_create_revision: String(largest) };
  return {
    ...range,
    ...(order !== "key" && {
      sort_target: SortTarget.Create,
      sort_order: order === "oldest" ? SortOrder.Ascend : SortOrder.Descend,
    }),
    ...(limit !== undefined && { limit: String(order === "key" ? limit : limit + 1) }),
    ...(createdBefore !== undefined && { max_create_revision: int64(createdBefore - 1n) }),
    ...(keysOnly && { keys_only: true }),
  };
}

/** A listing, and the revision whose entries the limit cut through, if it did: etcd keeps any of them, in any order. */
export interface DecodedListing {
  readonly listing: Listing;
  readonly cutThrough: Revision | undefined;
}

export function decodeList(
  selection: Selection,
  reply: { readonly kvs: readonly IKeyValue[]; readonly more: boolean },
  revision: Revision,
): DecodedListing {
  const { order = "key", limit } = selection;
  const entries = reply.kvs.map(decodeEntry);
  if (order === "key") return { listing: { entries, revision, more: reply.more }, cutThrough: undefined };
  const sorted = entries.sort(byCreation(order));
  const kept = sorted.slice(0, limit);
  const [last, next] = [kept.at(-1), sorted[kept.length]];
  return {
    listing: { entries: kept, revision, more: next !== undefined },
    cutThrough: next !== undefined && next.created === last?.created ? next.created : undefined,
  };
}

/** The order of a listing by creation; within one revision by key, whichever way the revisions go. */
export function byCreation(order: "oldest" | "newest"): (one: Entry, other: Entry) => number {
  const direction = order === "oldest" ? 1 : -1;
  return (one, other) => {
    if (one.created !== other.created) return one.created < other.created ? -direction : direction;
    return Buffer.compare(Buffer.from(one.key), Buffer.from(other.key));
  };
}

/** etcd runs operations in order, and reads must see the transaction's writes: so writes go first. */
function runningOrder(operations: readonly Operation[]): readonly number[] {
  const indices = operations.map((_, index) => index);
  return [
    ...indices.filter((index) => isWrite(operations[index])),
    ...indices.filter((index) => !isWrite(operations[index])),
  ];
}

function isWrite(operation: Operation | undefined): boolean {
  return operation !== undefined && ("put" in operation || "delete" in operation);
}

export function writes(txn: Txn): boolean {
  return txn.then.some(isWrite);
}

export function encodeTxn(txn: Txn): ITxnRequest {
  const branch = (operations: readonly Operation[] = []) =>
    runningOrder(operations).map((index) => encodeOperation(operations[index] as Operation));
  return { compare: txn.if?.map(encodeCondition) ?? [], success: branch(txn.then), failure: branch(txn.else) };
}

/** The commit a reply tells of. `revision` is that of the outermost header: etcd leaves those inside at zero. */
export function decodeTxn(
  txn: Txn,
  reply: Pick<ITxnResponse, "succeeded" | "responses">,
  revision: Revision,
): { readonly commit: Commit; readonly cut: readonly { readonly index: number; readonly decoded: DecodedListing }[] } {
  const operations: readonly Operation[] = reply.succeeded ? txn.then : (txn.else ?? []);
  const results: unknown[] = operations.map(() => undefined);
  const cut: { index: number; decoded: DecodedListing }[] = [];
  runningOrder(operations).forEach((index, position) => {
    const operation = operations[index] as Operation;
    const response = reply.responses[position] as IResponseOp;
    if ("delete" in operation) results[index] = response.response_delete_range.deleted !== "0";
    else if ("get" in operation) results[index] = response.response_range.kvs.map(decodeEntry)[0];
    else if ("list" in operation) {
      const decoded = decodeList(operation, response.response_range, revision);
      results[index] = decoded.listing;
      if (decoded.cutThrough !== undefined) cut.push({ index, decoded });
    }
  });
  return { commit: { succeeded: reply.succeeded, revision, readAt: revision, results } as unknown as Commit, cut };
}

function encodeOperation(operation: Operation): IRequestOp {
  if ("put" in operation) {
    const { put, value, lease } = operation;
    return {
      request_put: { ...keyRange(put), value: Buffer.from(value), ...(lease && { lease: encodeLease(lease.id) }) },
    };
  }
  if ("delete" in operation) return { request_delete_range: keyRange(operation.delete) };
  if ("get" in operation) return { request_range: keyRange(operation.get) };
  return { request_range: encodeList(operation.list, operation) };
}

function encodeCondition(condition: Condition): ICompare {
  const created = { target: CompareTarget.Create, result: CompareResult.Equal };
  if ("prefix" in condition) {
    const range = prefixRange(condition.prefix);
    // Over a range etcd compares every key there is, so that this holds if there is none.
    if ("empty" in condition) return { ...range, ...created, create_revision: "0" };
    // Where there is none it compares 0.
    const after = condition.noneModifiedAfter < 0n ? 0n : condition.noneModifiedAfter;
    const target = { target: CompareTarget.Mod, result: CompareResult.Less };
    return { ...range, ...target, mod_revision: int64(after + 1n) };
  }
  const { key } = keyRange(condition.key);
  if ("exists" in condition) {
    return {
      key,
      ...created,
      result: condition.exists ? CompareResult.Greater : CompareResult.Equal,
      create_revision: "0",
    };
  }
  if ("created" in condition) return { key, ...created, create_revision: revisionToMatch(condition.created) };
  return { key, ...created, target: CompareTarget.Mod, mod_revision: revisionToMatch(condition.modified) };
}

/** An absent key has revision 0 on etcd; a condition on a revision must not hold for it. */
function revisionToMatch(revision: Revision): string {
  return revision > 0n && revision <= largest ? String(revision) : "-1";
}

function int64(value: bigint): string {
  return String(value < largest ? value : largest);
}

export function decodeEntry(kv: IKeyValue): Entry {
  return {
    key: decode(kv.key),
    // A copy: what gRPC gave is a window on the whole message, which a small value would keep alive.
    value: new Uint8Array(kv.value),
    created: BigInt(kv.create_revision),
    modified: BigInt(kv.mod_revision),
    lease: kv.lease === "0" ? undefined : decodeLease(kv.lease),
  };
}

export function decodeChange({ type, kv }: IEvent): Change {
  const entry = type === "Put" ? decodeEntry(kv) : undefined;
  return { key: decode(kv.key), modified: BigInt(kv.mod_revision), entry };
}

/** A lease id as Go prints it: hexadecimal without leading zeros. */
export function decodeLease(id: string | bigint): string {
  return BigInt(id).toString(16);
}

export function encodeLease(id: string): string {
  if (!/^[0-9a-f]{1,16}$/.test(id)) throw wrongType("lease", id, "a lease granted by this backend");
  return String(BigInt(`0x${id}`));
}
