import type { Commit, Entry, Listing, Operation, Txn } from "@conclave/core/backend";

/** An entry in JSON. Revisions count commits, so no number is too large for it. */
export interface EncodedEntry {
  readonly key: string;
  readonly value: string;
  readonly created: number;
  readonly modified: number;
  readonly lease: string | null;
}

/** What `transact` gives; a list has one entry more than its limit where there are more. */
export interface EncodedCommit {
  readonly succeeded: boolean;
  readonly revision: number;
  readonly results: readonly (EncodedEntry | readonly EncodedEntry[] | boolean | null)[];
}

/** Whether a transaction may change anything. */
export function writes(txn: Txn): boolean {
  return txn.then.some((operation) => "put" in operation || "delete" in operation);
}

/** A transaction in JSON: bytes in base64, leases by their ids, and bounds of any size as text. */
export function encodeTxn(txn: Txn): string {
  const then = txn.then.map((operation) =>
    "put" in operation
      ? { put: operation.put, value: Buffer.from(operation.value).toString("base64"), lease: operation.lease?.id }
      : operation,
  );
  return JSON.stringify({ ...txn, then }, (_, value) => (typeof value === "bigint" ? String(value) : value));
}

export function decodeEntry({ key, value, created, modified, lease }: EncodedEntry): Entry {
  const bytes = new Uint8Array(Buffer.from(value, "base64"));
  return { key, value: bytes, created: BigInt(created), modified: BigInt(modified), lease: lease ?? undefined };
}

export function decodeCommit<T extends Txn>(txn: T, { succeeded, revision, results }: EncodedCommit): Commit<T> {
  const at = BigInt(revision);
  const operations: readonly Operation[] = succeeded ? txn.then : (txn.else ?? []);
  const decode = (result: EncodedCommit["results"][number], index: number): unknown => {
    if (typeof result !== "object" || result === null) return result ?? undefined;
    if ("key" in result) return decodeEntry(result);
    const { limit = result.length } = operations[index] as { readonly limit?: number };
    const entries = result.slice(0, limit).map(decodeEntry);
    return { entries, revision: at, more: result.length > limit } satisfies Listing;
  };
  return { succeeded, revision: at, readAt: at, results: results.map(decode) } as unknown as Commit<T>;
}
