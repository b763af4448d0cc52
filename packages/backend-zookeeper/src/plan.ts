import type { Operation, Put } from "@conclave/core/backend";
import { creation, type Layout, nothing, parentOf } from "./layout.ts";
import type { MultiOp } from "./link.ts";

/** What was found before a transaction, and must still be so when its writes are done. */
export interface Found {
  /** By path: a node's version, undefined where there is none. */
  readonly versions: ReadonlyMap<string, number | undefined>;
  /** Of these paths any version will do. */
  readonly lenient: ReadonlySet<string>;
  /** By path of an entry to be written: the session it lives with, undefined where there is none. */
  readonly owners: ReadonlyMap<string, string | undefined>;
  /** Directories to be made, each after the one it is in. */
  readonly missing: readonly string[];
}

/** Nothing was looked at: what is to be created was not there when creating it succeeds. */
export const unseen: Found = { versions: new Map(), lenient: new Set(), owners: new Map(), missing: [] };

/**
 * The one multi that checks that all which was found is still so, and writes.
 *
 * A version alone does not tell a node from one made anew under its name, since ZooKeeper counts versions from 0 again;
 * so every creation also writes the guard its path falls to, and next to a node's version its guard's is checked. That
 * holds also where the node went with a session, in which nobody could write a guard. A guard that is unchanged tells of
 * a node that was not there that it still is not.
 *
 * Every creation writes its directory too, so an unchanged version of a directory says that nothing was added.
 */
export class Plan {
  readonly #layout: Layout;
  readonly #found: Found;
  readonly #checks: MultiOp[] = [];
  readonly #removals: MultiOp[] = [];
  readonly #writes: MultiOp[] = [];
  /** Nodes to be written for their version's sake alone. */
  readonly #marks = new Set<string>();

  constructor(layout: Layout, found: Found) {
    this.#layout = layout;
    this.#found = found;
    for (const [path, version] of found.versions) {
      if (version !== undefined)
        this.#checks.push({ check: path, version: found.lenient.has(path) ? undefined : version });
    }
    for (const directory of found.missing) {
      this.#writes.push({ create: directory });
      this.#marks.add(directory);
      this.#markCreation(directory);
    }
  }

  get ops(): readonly MultiOp[] {
    const marks = [...this.#marks].map((path): MultiOp => ({ set: path, data: nothing }));
    return [...this.#checks, ...this.#removals, ...this.#writes, ...marks];
  }

  /** Adds a write; says whether there was something to delete. */
  add(operation: Operation): boolean | undefined {
    if ("put" in operation) this.#put(operation);
    else if ("delete" in operation) return this.#delete(operation.delete);
    return undefined;
  }

  #put({ put: key, value, lease }: Put): void {
    const path = this.#layout.entry(key);
    const data = Buffer.from(value.buffer, value.byteOffset, value.length);
    const owner = this.#found.owners.get(path);
    if (owner === (lease?.id ?? "")) {
      this.#writes.push({ set: path, data });
      return;
    }
    // A node cannot change the session it lives with: it is made anew.
    if (owner !== undefined) this.#removals.push({ remove: path });
    this.#writes.push(...creation(path, data, lease !== undefined));
    this.#markCreation(path);
  }

  #delete(key: string): boolean {
    const path = this.#layout.entry(key);
    if (this.#found.owners.get(path) === undefined) return false;
    this.#removals.push({ remove: path });
    return true;
  }

  #markCreation(path: string): void {
    this.#marks.add(parentOf(path));
    this.#marks.add(this.#layout.guard(path));
  }
}
