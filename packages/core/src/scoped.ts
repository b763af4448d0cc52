import { checkText } from "./arguments.ts";
import { byteLength } from "./bytes.ts";
import { checked } from "./checked.ts";
import type { Backend } from "./ports/backend.ts";
import type { CallOptions, Commit, Condition, Entry, Listing, Operation, Read, ResultsOf, Txn } from "./ports/kv.ts";
import type { Watch, WatchBatch } from "./ports/watches.ts";

/**
 * The same store seen through a prefix: every key given gets it, every key shown loses it, nothing outside is reachable.
 * A view, not a client: disposing it closes the view alone.
 */
export function scoped(backend: Backend, prefix: string): Backend {
  checkText("prefix", prefix);
  return checked(view(backend, prefix));
}

function view(backend: Backend, prefix: string): Backend {
  const outer = (key: string): string => prefix + key;
  const innerEntry = (entry: Entry): Entry => ({ ...entry, key: entry.key.slice(prefix.length) });
  const innerListing = (listing: Listing): Listing => ({ ...listing, entries: listing.entries.map(innerEntry) });
  const innerResult = (result: unknown): unknown => {
    if (typeof result !== "object" || result === null) return result;
    return "entries" in result ? innerListing(result as Listing) : innerEntry(result as Entry);
  };
  const outerSelection = <S extends { readonly startAfter?: string | undefined }>(selection: S): S =>
    selection.startAfter === undefined ? selection : { ...selection, startAfter: outer(selection.startAfter) };
  const outerCondition = (condition: Condition): Condition =>
    "prefix" in condition
      ? { ...condition, prefix: outer(condition.prefix) }
      : { ...condition, key: outer(condition.key) };
  const outerRead = (read: Read): Read =>
    "get" in read ? { get: outer(read.get) } : { ...outerSelection(read), list: outer(read.list) };
  const outerOperation = (operation: Operation): Operation => {
    if ("put" in operation) return { ...operation, put: outer(operation.put) };
    if ("delete" in operation) return { delete: outer(operation.delete) };
    return outerRead(operation);
  };
  const { name, leases, clock, guarantees } = backend;
  return {
    name,
    leases,
    clock,
    guarantees,
    limits: { ...backend.limits, maxKeyBytes: backend.limits.maxKeyBytes - byteLength(prefix) },
    kv: {
      async get(key, options) {
        const entry = await backend.kv.get(outer(key), options);
        return entry && innerEntry(entry);
      },
      async list(under, options) {
        return innerListing(await backend.kv.list(outer(under), options && outerSelection(options)));
      },
      async commit<const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>> {
        const commit = await backend.kv.commit(
          { if: txn.if?.map(outerCondition), then: txn.then.map(outerOperation), else: txn.else?.map(outerRead) },
          options,
        );
        const results = (commit.results as readonly unknown[]).map(innerResult);
        return { ...commit, results: results as unknown as ResultsOf<T["then"]> } as Commit<T>;
      },
    },
    watches: {
      async watch(range, options) {
        const watch = await backend.watches.watch(
          "key" in range ? { key: outer(range.key) } : { prefix: outer(range.prefix) },
          options,
        );
        return innerWatch(watch, (key) => key.slice(prefix.length), innerEntry);
      },
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

function innerWatch(watch: Watch, innerKey: (key: string) => string, innerEntry: (entry: Entry) => Entry): Watch {
  const inner = (batch: WatchBatch): WatchBatch =>
    "gap" in batch
      ? batch
      : {
          revision: batch.revision,
          changes: batch.changes.map((change) => ({
            key: innerKey(change.key),
            modified: change.modified,
            entry: change.entry && innerEntry(change.entry),
          })),
        };
  return {
    async *[Symbol.asyncIterator]() {
      for await (const batch of watch) yield inner(batch);
    },
    [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose](),
  };
}
