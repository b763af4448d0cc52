import type {
  Condition,
  Entry,
  Listing,
  Operation,
  Read,
  Revision,
  Selection,
  Txn,
  WatchRange,
} from "@conclave/core/backend";
import { noBytes } from "@conclave/core/backend";
import type { Cut } from "./mirror.ts";
import { select } from "./selection.ts";

/** What of a listing does not depend on when it was made. */
export type Selected = Omit<Listing, "revision">;

/** Something that can be asked for entries, whether or not they have to be fetched. */
export interface View {
  /** The entry of a key; undefined when there is none. Without its value, if only the key is asked for. */
  entry(key: string, keysOnly?: boolean): Promise<Entry | undefined>;
  /** What is under a prefix. */
  list(prefix: string, selection: Selection): Promise<Selected>;
}

/** A cut, to be asked for what is in its ranges. */
export function viewOf({ entries }: Cut): View {
  return {
    entry: async (key) => entries.get(key),
    list: async (prefix, selection) => {
      const { entries: selected, more } = select(
        [...entries.values()].filter(({ key }) => key.startsWith(prefix)),
        selection,
      );
      const { keysOnly } = selection;
      return { entries: keysOnly ? selected.map((entry) => ({ ...entry, value: noBytes })) : selected, more };
    },
  };
}

export function isRead(operation: Operation): operation is Read {
  return "get" in operation || "list" in operation;
}

/** Whether every condition of a transaction holds. */
export async function allHold({ if: conditions = [] }: Txn, view: View): Promise<boolean> {
  return (await Promise.all(conditions.map((condition) => holds(condition, view)))).every((one) => one);
}

async function holds(condition: Condition, view: View): Promise<boolean> {
  if ("prefix" in condition) {
    const { prefix } = condition;
    if ("empty" in condition) return (await view.list(prefix, { keysOnly: true, limit: 1 })).entries.length === 0;
    const { entries } = await view.list(prefix, { keysOnly: true });
    return entries.every(({ modified }) => modified <= condition.noneModifiedAfter);
  }
  const entry = await view.entry(condition.key, true);
  if ("exists" in condition) return condition.exists === (entry !== undefined);
  if ("created" in condition) return entry?.created === condition.created;
  return entry?.modified === condition.modified;
}

/** What a read gives, where it is of a revision. */
export async function answer(read: Read, view: View): Promise<(revision: Revision) => Entry | Listing | undefined> {
  if ("get" in read) {
    const entry = await view.entry(read.get);
    return () => entry;
  }
  const { list: prefix, ...selection } = read;
  const selected = await view.list(prefix, selection);
  return (revision) => ({ ...selected, revision });
}

/** All that a transaction looks at, in whichever branch. */
export function rangesOf({ if: conditions = [], then, else: otherwise = [] }: Txn): readonly WatchRange[] {
  const keys = new Set<string>();
  const prefixes = new Set<string>();
  for (const one of conditions) "prefix" in one ? prefixes.add(one.prefix) : keys.add(one.key);
  for (const one of [...then, ...otherwise]) {
    if ("list" in one) prefixes.add(one.list);
    else keys.add("put" in one ? one.put : "delete" in one ? one.delete : one.get);
  }
  return [...[...keys].map((key) => ({ key })), ...[...prefixes].map((prefix) => ({ prefix }))];
}
