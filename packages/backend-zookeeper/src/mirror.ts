import type { Entry, WatchRange } from "@conclave/core/backend";
import type { Deadline } from "./deadline.ts";
import { type Child, childrenOf, type Layout, type Stretch } from "./layout.ts";
import type { Answer, Link } from "./link.ts";
import { entryOf } from "./pass.ts";
import type { Patience } from "./patience.ts";
import { Window } from "./window.ts";

/** All that is in some ranges, as it was at one revision. */
export interface Cut {
  readonly entries: ReadonlyMap<string, Entry>;
  readonly revision: bigint;
}

const windowSize = 200;

/** What is kept of one node of the store: an entry, or a directory. */
class Node {
  readonly read: (patience: Patience) => Promise<void>;
  readonly watch: () => void;
  /** What is in a directory, by path. */
  readonly below = new Map<string, Node>();
  readonly isDirectory: boolean;
  entry: Entry | undefined;
  isAbsent = false;
  isDropped = false;

  constructor(isDirectory: boolean, read: (node: Node, patience: Patience) => Promise<void>, watch: () => void) {
    this.isDirectory = isDirectory;
    this.read = (patience) => read(this, patience);
    this.watch = watch;
  }

  collect(entries: Map<string, Entry>): void {
    if (this.entry) entries.set(this.entry.key, this.entry);
    for (const child of this.below.values()) child.collect(entries);
  }
}

/**
 * A copy of ranges of the store, with a watch on every node. ZooKeeper tells a session of a change before it shows it
 * that change or a later one. So when every node was read, and no watch has called since its node was, then all that was
 * read was there together when the last reply was made: a cut, however many others write meanwhile.
 */
export class Mirror {
  readonly #link: Link;
  readonly #layout: Layout;
  readonly #onStale: () => void;
  readonly #window = new Window(windowSize);
  readonly #roots: readonly Node[];
  /** Nodes that may have changed since they were read. */
  readonly #stale = new Set<Node>();
  #revision = 0n;

  /** `onStale` is called whenever something may have changed, also while it is being settled. */
  constructor(link: Link, layout: Layout, ranges: readonly WatchRange[], onStale: () => void = () => {}) {
    this.#link = link;
    this.#layout = layout;
    this.#onStale = onStale;
    this.#roots = ranges.map((range) =>
      "key" in range ? this.#key(range.key) : this.#directory(layout.stretch(range.prefix), undefined),
    );
  }

  /** Whether something may have changed since it was settled. */
  get isStale(): boolean {
    return this.#stale.size > 0;
  }

  /** Reads what may have changed until nothing has any more. Rejects as a read does, and can be called again then. */
  async settle(deadline: Deadline): Promise<Cut> {
    using patience = this.#link.patience(deadline.call);
    while (this.#stale.size > 0) {
      deadline.check();
      // Directories first: entries that are not in them any more need not be read.
      const stale = [...this.#stale];
      const directories = stale.filter((node) => node.isDirectory);
      const next = directories.length > 0 ? directories : stale;
      const reads = next.map((node) => this.#window.run(() => this.#refresh(node, patience)));
      const failed = (await Promise.allSettled(reads)).find((outcome) => outcome.status === "rejected");
      if (failed) throw failed.reason;
    }
    const entries = new Map<string, Entry>();
    for (const root of this.#roots) root.collect(entries);
    return { entries, revision: this.#revision };
  }

  /** Forgets all. The watches that are left in the store will each call once more, to no effect. */
  close(): void {
    for (const root of this.#roots) this.#drop(root);
  }

  async #refresh(node: Node, patience: Patience): Promise<void> {
    // First, so that what changes while it is being read makes it stale again.
    if (!this.#stale.delete(node)) return;
    try {
      await node.read(patience);
    } catch (error) {
      this.#mark(node);
      throw error;
    }
  }

  #mark(node: Node): void {
    if (node.isDropped) return;
    this.#stale.add(node);
    this.#onStale();
  }

  #drop(node: Node): void {
    node.isDropped = true;
    this.#stale.delete(node);
    for (const child of node.below.values()) this.#drop(child);
    node.below.clear();
    node.entry = undefined;
  }

  #add(isDirectory: boolean, read: (node: Node, patience: Patience) => Promise<void>): Node {
    const node = new Node(isDirectory, read, () => this.#mark(node));
    this.#stale.add(node);
    return node;
  }

  #key(key: string): Node {
    const path = this.#layout.entry(key);
    return this.#add(false, async (node, patience) => {
      // Of a node that is not there only `exists` sets a watch.
      const [found, answer] = await Promise.all([
        this.#link.exists(path, node.watch, patience),
        this.#link.data(path, node.watch, patience),
      ]);
      this.#note(found);
      this.#note(answer);
      node.entry = answer.stat && entryOf(key, answer.data, answer.stat);
      // It came or went between the two, so the watch may be missing.
      if ((answer.stat === undefined) !== (found.stat === undefined)) this.#mark(node);
    });
  }

  #entry({ path, key }: Child, above: Node): Node {
    return this.#add(false, async (node, patience) => {
      const answer = await this.#link.data(path, node.watch, patience);
      this.#note(answer);
      node.entry = answer.stat && entryOf(key, answer.data, answer.stat);
      this.#settleAbsence(node, answer.stat === undefined, above);
    });
  }

  /** A directory; one that is a root, with none above it here, must be heard of also when it comes. */
  #directory(stretch: Stretch, above: Node | undefined): Node {
    const path = stretch.directory;
    return this.#add(true, async (node, patience) => {
      const answer = await this.#link.children(path, node.watch, patience);
      this.#note(answer);
      // What is in it is for the one to read that has taken its place, if there is one.
      if (node.isDropped) return;
      const children = childrenOf(stretch, answer.names ?? []);
      const named = new Set(children.map((child) => child.path));
      for (const [known, child] of node.below) {
        if (named.has(known)) continue;
        this.#drop(child);
        node.below.delete(known);
      }
      for (const child of children) {
        const known = node.below.get(child.path);
        if (known === undefined) node.below.set(child.path, this.#below(child, node));
        else if (known.isAbsent) this.#mark(known);
      }
      if (above) return this.#settleAbsence(node, answer.stat === undefined, above);
      if (answer.stat) return;
      const found = await this.#link.exists(path, node.watch, patience);
      this.#note(found);
      if (found.stat) this.#mark(node);
    });
  }

  #below(child: Child, above: Node): Node {
    if (!child.isDirectory) return this.#entry(child, above);
    return this.#directory({ directory: child.path, above: child.key, rest: "" }, above);
  }

  /** On what is not there no watch was set; the directory above must say whether it has come again. */
  #settleAbsence(node: Node, isAbsent: boolean, above: Node): void {
    node.isAbsent = isAbsent;
    if (isAbsent) this.#mark(above);
  }

  #note({ zxid }: Answer<object>): void {
    if (zxid > this.#revision) this.#revision = zxid;
  }
}
