import {
  type Commit,
  type Condition,
  CoordinationError,
  decode,
  type Entry,
  type Listing,
  noBytes,
  type Operation,
  type Read,
  type Revision,
  type Selection,
  type Txn,
  wrongType,
} from "@conclave/core/backend";
import type { Argument, Reply } from "./link.ts";

/** Beyond it Lua's numbers are not exact, and rounding up could add a digit. */
const largest = 2n ** 53n - 1n;
const noLease = "-".repeat(32);
const headBytes = 64;

/** A revision as the store has it: 16 digits. What is beyond them becomes the first or the last, which no entry ever has. */
export function encodeRevision(revision: Revision): string {
  const within = revision < 0n ? 0n : revision > largest ? largest : revision;
  return String(within).padStart(16, "0");
}

export function decodeRevision(digits: Uint8Array): Revision {
  return BigInt(decode(digits));
}

/** A lease's id is 32 hexadecimal digits, which the script relies on. */
export function encodeLease(id: string): string {
  if (!/^[0-9a-f]{32}$/.test(id)) throw wrongType("lease", id, "a lease granted by this backend");
  return id;
}

/** An entry: created, modified and lease in 16, 16 and 32 bytes, then the value, which is copied. Throws `CORRUPT`. */
export function decodeEntry(key: string, packed: Buffer): Entry {
  if (packed.length < headBytes || !/^\d{32}$/.test(packed.toString("latin1", 0, 32))) {
    throw new CoordinationError("CORRUPT", `the entry of ${key} was not written by this backend`);
  }
  const lease = packed.toString("latin1", 32, headBytes);
  return {
    key,
    value: packed.length === headBytes ? noBytes : new Uint8Array(packed.subarray(headBytes)),
    created: decodeRevision(packed.subarray(0, 16)),
    modified: decodeRevision(packed.subarray(16, 32)),
    lease: lease === noLease ? undefined : lease,
  };
}

/** A prefix ends before the byte that UTF-8 never has. */
const beyond = Buffer.of(0xff);

/** What the script's `list` takes, in its order. */
export function encodeList(prefix: string, selection: Selection): readonly Argument[] {
  const { order = "key", limit, createdBefore, startAfter, keysOnly } = selection;
  const [from, after] = [Buffer.from(prefix), Buffer.from(startAfter ?? "")];
  const past = startAfter !== undefined && after.compare(from) >= 0;
  return [
    prefix,
    past ? Buffer.concat([Buffer.from("("), after]) : Buffer.concat([Buffer.from("["), from]),
    Buffer.concat([Buffer.from("("), from, beyond]),
    // Without a limit the order is made here: Redis has better to do.
    limit === undefined ? "key" : order,
    limit ?? "",
    createdBefore === undefined ? "" : encodeRevision(createdBefore),
    keysOnly ? 1 : 0,
  ];
}

export function decodeList(selection: Selection, reply: Reply, revision: Revision): Listing {
  const { order = "key", limit } = selection;
  const [more, ...flat] = reply as readonly [number, ...Buffer[]];
  const entries: Entry[] = [];
  for (let index = 0; index < flat.length; index += 2) {
    entries.push(decodeEntry(decode(flat[index] as Buffer), flat[index + 1] as Buffer));
  }
  if (limit === undefined && order !== "key") entries.sort(byCreation(order));
  return { entries, revision, more: more === 1 };
}

/** Sorts entries that are in the order of keys, as those of one revision remain. */
function byCreation(order: "oldest" | "newest"): (one: Entry, other: Entry) => number {
  const first = order === "oldest" ? -1 : 1;
  return (one, other) => (one.created === other.created ? 0 : one.created < other.created ? first : -first);
}

function isWrite(operation: Operation): boolean {
  return "put" in operation || "delete" in operation;
}

export function writes(txn: Txn): boolean {
  return txn.then.some(isWrite);
}

/** What the script's `commit` takes: the lease, conditions, writes, what is read after them, what is read instead. */
export function encodeTxn(txn: Txn): readonly Argument[] {
  const { if: conditions = [], then, else: otherwise = [] } = txn;
  const lease = then.flatMap((operation) => ("put" in operation && operation.lease ? [operation.lease.id] : []))[0];
  const counted = <T>(items: readonly T[], encoded: (item: T) => readonly Argument[]) => [
    items.length,
    ...items.flatMap(encoded),
  ];
  return [
    lease === undefined ? "" : encodeLease(lease),
    ...counted(conditions, encodeCondition),
    ...counted(then.filter(isWrite), encodeWrite),
    ...counted(then.filter((operation) => !isWrite(operation)) as readonly Read[], encodeRead),
    ...counted(otherwise, encodeRead),
  ];
}

function encodeCondition(condition: Condition): readonly Argument[] {
  if ("prefix" in condition) {
    if ("empty" in condition) return ["empty", condition.prefix, ""];
    return ["noneModifiedAfter", condition.prefix, encodeRevision(condition.noneModifiedAfter)];
  }
  const { key } = condition;
  if ("exists" in condition) return ["exists", key, condition.exists ? 1 : 0];
  if ("created" in condition) return ["created", key, encodeRevision(condition.created)];
  return ["modified", key, encodeRevision(condition.modified)];
}

function encodeWrite(operation: Operation): readonly Argument[] {
  // A copy: the caller may go on to change what it passed.
  if ("put" in operation) return ["put", operation.put, operation.lease ? 1 : 0, Buffer.from(operation.value)];
  return ["delete", (operation as { readonly delete: string }).delete];
}

function encodeRead(read: Read): readonly Argument[] {
  return "get" in read ? ["get", read.get] : ["list", ...encodeList(read.list, read)];
}

/** The commit that a reply tells of; undefined where the lease was dead. */
export function decodeTxn(txn: Txn, reply: Reply, revision: Revision): Commit | undefined {
  const [outcome, ...answers] = reply as readonly [number, ...Reply[]];
  if (outcome === -1) return undefined;
  const operations: readonly Operation[] = outcome === 1 ? txn.then : (txn.else ?? []);
  const results: unknown[] = operations.map(() => undefined);
  const indexed = [...operations.entries()];
  const answered = [...indexed.filter(([, each]) => isWrite(each)), ...indexed.filter(([, each]) => !isWrite(each))];
  for (const [position, [index, operation]] of answered.entries()) {
    results[index] = decodeResult(operation, answers[position] as Reply, revision);
  }
  return { succeeded: outcome === 1, revision, readAt: revision, results } as unknown as Commit;
}

function decodeResult(operation: Operation, reply: Reply, revision: Revision): unknown {
  if ("put" in operation) return undefined;
  if ("delete" in operation) return reply === 1;
  if ("get" in operation) return reply === null ? undefined : decodeEntry(operation.get, reply as Buffer);
  return decodeList(operation as Selection, reply, revision);
}
