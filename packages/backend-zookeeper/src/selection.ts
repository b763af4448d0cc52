import { compareKeys, type Entry, type Selection } from "@conclave/core/backend";

/** Of all entries under a prefix, in any order, what a selection asks for. */
export function select(
  all: readonly Entry[],
  { order = "key", limit, createdBefore, startAfter }: Selection,
): { readonly entries: readonly Entry[]; readonly more: boolean } {
  const entries = all.filter(
    ({ key, created }) =>
      (createdBefore === undefined || created < createdBefore) &&
      (startAfter === undefined || compareKeys(key, startAfter) > 0),
  );
  entries.sort(order === "key" ? byKey : byCreation(order));
  return { entries: entries.slice(0, limit), more: limit !== undefined && entries.length > limit };
}

function byKey(a: Entry, b: Entry): number {
  return compareKeys(a.key, b.key);
}

function byCreation(order: "oldest" | "newest"): (a: Entry, b: Entry) => number {
  const first = order === "oldest" ? -1 : 1;
  return (a, b) => {
    if (a.created === b.created) return byKey(a, b);
    return a.created < b.created ? first : -first;
  };
}
