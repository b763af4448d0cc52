import { compareKeys } from "./bytes.ts";
import type { Entry } from "./ports/kv.ts";

interface Node {
  readonly entry: Entry;
  /** Larger than that of every node below it. */
  readonly rank: number;
  readonly size: number;
  readonly left: Node | undefined;
  readonly right: Node | undefined;
}

/**
 * Entries by key, in the order of `kv.list`, that never change: `with` and `without` give another map, which shares all
 * but a logarithm of its nodes with this one. So a view of thousands of keys costs nothing to hand out, and nothing to
 * keep. What is read is the reader's own to change.
 *
 * It is a treap: Seidel and Aragon, "Randomized Search Trees" (Algorithmica 16, 1996), whose ranks are drawn by chance: no
 * choice of keys makes it deep.
 */
export class EntryMap implements ReadonlyMap<string, Entry> {
  readonly #random: () => number;
  readonly #root: Node | undefined;

  private constructor(random: () => number, root: Node | undefined) {
    this.#random = random;
    this.#root = root;
  }

  /** `random` gives numbers in [0, 1), as a clock's does. */
  static of(entries: Iterable<Entry>, random: () => number): EntryMap {
    let map = new EntryMap(random, undefined);
    for (const entry of entries) map = map.with(entry);
    return map;
  }

  with(entry: Entry): EntryMap {
    const root = this.has(entry.key) ? replaced(this.#root as Node, entry) : put(this.#root, entry, this.#random());
    return new EntryMap(this.#random, root);
  }

  without(key: string): EntryMap {
    return this.has(key) ? new EntryMap(this.#random, removed(this.#root, key)) : this;
  }

  /**
   * What is different from an earlier map, or from none: each key whose entry changed, with the entry there is now, if any.
   * It takes time by the size of the difference, not by that of the maps. The entries are not copies: change nothing of
   * them.
   */
  since(before: EntryMap | undefined): ReadonlyMap<string, Entry | undefined> {
    const changes = new Map<string, Entry | undefined>();
    compare(before === undefined ? undefined : before.#root, this.#root, changes);
    return changes;
  }

  /** When the key was last written, if it is there. */
  modified(key: string): Entry["modified"] | undefined {
    return find(this.#root, key)?.modified;
  }

  /** The entries whose keys begin so. */
  under(prefix: string): Entry[] {
    const entries: Entry[] = [];
    collect(this.#root, prefix, entries);
    return entries.map(copyOf);
  }

  get size(): number {
    return this.#root?.size ?? 0;
  }

  get(key: string): Entry | undefined {
    const entry = find(this.#root, key);
    return entry && copyOf(entry);
  }

  has(key: string): boolean {
    return find(this.#root, key) !== undefined;
  }

  forEach(callback: (entry: Entry, key: string, map: ReadonlyMap<string, Entry>) => void): void {
    for (const entry of this.under("")) callback(entry, entry.key, this);
  }

  keys(): MapIterator<string> {
    const entries: Entry[] = [];
    collect(this.#root, "", entries);
    return entries.map(({ key }) => key).values();
  }

  values(): MapIterator<Entry> {
    return this.under("").values();
  }

  entries(): MapIterator<[string, Entry]> {
    return this.under("")
      .map((entry): [string, Entry] => [entry.key, entry])
      .values();
  }

  [Symbol.iterator](): MapIterator<[string, Entry]> {
    return this.entries();
  }
}

function copyOf(entry: Entry): Entry {
  return { ...entry, value: new Uint8Array(entry.value) };
}

function node(entry: Entry, rank: number, left: Node | undefined, right: Node | undefined): Node {
  return { entry, rank, size: 1 + (left?.size ?? 0) + (right?.size ?? 0), left, right };
}

function find(below: Node | undefined, key: string): Entry | undefined {
  for (let at = below; at !== undefined; ) {
    const order = compareKeys(key, at.entry.key);
    if (order === 0) return at.entry;
    at = order < 0 ? at.left : at.right;
  }
  return undefined;
}

/** Puts an entry in the place of the one of its key. */
function replaced(below: Node, entry: Entry): Node {
  const { rank, left, right } = below;
  const order = compareKeys(entry.key, below.entry.key);
  if (order === 0) return node(entry, rank, left, right);
  return order < 0
    ? node(below.entry, rank, replaced(left as Node, entry), right)
    : node(below.entry, rank, left, replaced(right as Node, entry));
}

/** Puts in an entry whose key is not there. */
function put(below: Node | undefined, entry: Entry, rank: number): Node {
  if (below === undefined) return node(entry, rank, undefined, undefined);
  if (rank > below.rank) return node(entry, rank, ...split(below, entry.key));
  const { left, right } = below;
  return compareKeys(entry.key, below.entry.key) < 0
    ? node(below.entry, below.rank, put(left, entry, rank), right)
    : node(below.entry, below.rank, left, put(right, entry, rank));
}

/** What comes before a key that is not there, and what comes after it. */
function split(below: Node | undefined, key: string): [Node | undefined, Node | undefined] {
  if (below === undefined) return [undefined, undefined];
  const { entry, rank, left, right } = below;
  if (compareKeys(key, entry.key) < 0) {
    const [before, after] = split(left, key);
    return [before, node(entry, rank, after, right)];
  }
  const [before, after] = split(right, key);
  return [node(entry, rank, left, before), after];
}

function removed(below: Node | undefined, key: string): Node | undefined {
  if (below === undefined) return undefined;
  const { entry, rank, left, right } = below;
  const order = compareKeys(key, entry.key);
  if (order === 0) return joined(left, right);
  return order < 0 ? node(entry, rank, removed(left, key), right) : node(entry, rank, left, removed(right, key));
}

/** Two trees in one; all keys of the first come before those of the second. */
function joined(before: Node | undefined, after: Node | undefined): Node | undefined {
  if (before === undefined || after === undefined) return before ?? after;
  return before.rank > after.rank
    ? node(before.entry, before.rank, before.left, joined(before.right, after))
    : node(after.entry, after.rank, joined(before, after.left), after.right);
}

/** Puts what is under a prefix, in order, into a list. */
function collect(below: Node | undefined, prefix: string, into: Entry[]): void {
  if (below === undefined) return;
  const { entry, left, right } = below;
  if (compareKeys(entry.key, prefix) >= 0) collect(left, prefix, into);
  const within = entry.key.startsWith(prefix);
  if (within) into.push(entry);
  if (within || compareKeys(entry.key, prefix) < 0) collect(right, prefix, into);
}

/** Puts what differs between two trees into a map. What they share has one shape in both, so it is passed over whole. */
function compare(before: Node | undefined, now: Node | undefined, into: Map<string, Entry | undefined>): void {
  if (before === now) return;
  if (now === undefined) {
    const gone: Entry[] = [];
    collect(before, "", gone);
    for (const { key } of gone) into.set(key, undefined);
    return;
  }
  const [left, entry, right] = cut(before, now.entry.key);
  if (entry !== now.entry) into.set(now.entry.key, now.entry);
  compare(left, now.left, into);
  compare(right, now.right, into);
}

/** What comes before a key, its entry if it is there, and what comes after it. */
function cut(
  below: Node | undefined,
  key: string,
): readonly [before: Node | undefined, entry: Entry | undefined, after: Node | undefined] {
  if (below === undefined) return [undefined, undefined, undefined];
  const { entry, rank, left, right } = below;
  const order = compareKeys(key, entry.key);
  if (order === 0) return [left, entry, right];
  const [before, found, after] = cut(order < 0 ? left : right, key);
  return order < 0 ? [before, found, node(entry, rank, after, right)] : [node(entry, rank, left, before), found, after];
}
