import { compareKeys, type Entry, noBytes, type Selection } from "@conclave/core/backend";
import { type Child, childrenOf, type Layout, parentOf, type Stretch } from "./layout.ts";
import type { Link, Stat } from "./link.ts";
import type { Patience } from "./patience.ts";
import { select } from "./selection.ts";
import type { Selected, View } from "./view.ts";
import { Window } from "./window.ts";

/** So many requests are under way at once: more would only queue up, in memory, behind a reply of some megabytes. */
const windowSize = 200;

/**
 * One pass over nodes, each read once, all requests sent one behind the other on one link. What it finds need never have
 * been there together: `isExactAt` says whether it was, and `versions` is what a transaction checks to make sure.
 */
export class Pass implements View {
  /** What was found of a node: its data's version, undefined of one that is not there. */
  readonly versions: Map<string, number | undefined> = new Map();
  /** Whether a node was read before its guard, so that the guard does not tell what was created between the two. */
  isOutOfOrder = false;
  readonly #link: Link;
  readonly #layout: Layout;
  readonly #patience: Patience;
  readonly #isGuarded: boolean;
  readonly #window = new Window(windowSize);
  readonly #stats = new Map<string, Promise<Stat | undefined>>();
  readonly #entries = new Map<string, Promise<Entry | undefined>>();
  readonly #directories = new Map<string, Promise<readonly string[] | undefined>>();
  readonly #guards: Promise<unknown>[] = [];
  /** Nodes that nothing in this pass said would be there. */
  readonly #absent = new Set<string>();
  /** The revision that the server had got to at its first reply. */
  #first: bigint | undefined;
  /** The newest revision of anything it found. */
  #newest = 0n;
  #isTorn = false;

  /** `guarded` reads, before each node, the guard that tells whether it was made anew since. */
  constructor(link: Link, layout: Layout, patience: Patience, { guarded }: { readonly guarded: boolean }) {
    this.#link = link;
    this.#layout = layout;
    this.#patience = patience;
    this.#isGuarded = guarded;
  }

  /** The entry of a key; undefined when there is none. */
  async entry(key: string, keysOnly = false): Promise<Entry | undefined> {
    const path = this.#layout.entry(key);
    const entry = await this.#entry(path, key, keysOnly);
    if (entry === undefined) this.#absent.add(path);
    return entry;
  }

  /** Resolves when `versions` tells also of the guards. */
  async guardsRead(): Promise<void> {
    await Promise.all(this.#guards);
  }

  /** What is under a prefix. */
  async list(prefix: string, selection: Selection): Promise<Selected> {
    const { order = "key", limit, createdBefore, startAfter, keysOnly = false } = selection;
    const stretch = this.#layout.stretch(prefix);
    if (order === "key" && createdBefore === undefined && limit !== undefined) {
      return select(await this.#some(stretch, limit + 1, startAfter, keysOnly), { limit });
    }
    return select(await this.#all(stretch, keysOnly), selection);
  }

  /**
   * The revision at which everything that was found was there together; undefined when there is none. It is that of the
   * first reply, if all that was found later is no newer: then it was there by then. A directory lists what was there when
   * it was read, so what is created behind it does no harm. Where a node was not there, the directory above tells since
   * when. There is none before `floor`: a reply may be older, if the write that it followed had to be sent again.
   */
  async revision(floor: bigint): Promise<bigint | undefined> {
    // Who asked for nothing has no reply.
    const first = this.#first ?? floor;
    if (first < floor) return undefined;
    if (this.#stats.size + this.#entries.size + this.#directories.size === 1) return first;
    for (const path of this.#absent) await this.#lookAbove(path);
    return this.#isTorn || this.#newest > first ? undefined : first;
  }

  async #lookAbove(path: string): Promise<void> {
    for (let above = parentOf(path); above !== ""; above = parentOf(above)) {
      const answer = await this.#link.exists(above, undefined, this.#patience);
      if (answer.stat === undefined) continue;
      this.#newest = larger(this.#newest, answer.stat.pzxid);
      return;
    }
  }

  async #all(stretch: Stretch, keysOnly: boolean): Promise<readonly Entry[]> {
    const parts = (await this.#children(stretch)).map(async (child): Promise<readonly Entry[]> => {
      if (child.isDirectory) return this.#all(below(child), keysOnly);
      return this.#listed(child, keysOnly);
    });
    return (await Promise.all(parts)).flat();
  }

  /** So many entries in the order of their keys, reading no more nodes than that takes. */
  async #some(
    stretch: Stretch,
    count: number,
    startAfter: string | undefined,
    keysOnly: boolean,
  ): Promise<readonly Entry[]> {
    const children = (await this.#children(stretch)).filter((child) => !isPast(child, startAfter));
    const queue = children.sort((a, b) => compareKeys(a.key, b.key));
    const found: Entry[] = [];
    while (queue.length > 0 && found.length < count) {
      const isDirectory = queue[0]?.isDirectory === true;
      const wanted = isDirectory ? 1 : count - found.length;
      const end = queue.findIndex((child, index) => index >= wanted || child.isDirectory !== isDirectory);
      const run = queue.splice(0, end < 0 ? queue.length : end);
      const parts = run.map((child) =>
        isDirectory
          ? this.#some(below(child), count - found.length, startAfter, keysOnly)
          : this.#listed(child, keysOnly),
      );
      found.push(...(await Promise.all(parts)).flat());
    }
    return found;
  }

  /** An entry that was listed, so it should be there. */
  async #listed({ path, key }: Child, keysOnly: boolean): Promise<readonly Entry[]> {
    const entry = await this.#entry(path, key, keysOnly);
    if (entry) return [entry];
    this.#isTorn = true;
    return [];
  }

  async #children(stretch: Stretch): Promise<Child[]> {
    const { directory } = stretch;
    const names = await this.#once(this.#directories, directory, async () => {
      this.#guard(directory);
      const answer = await this.#window.run(() => this.#link.children(directory, undefined, this.#patience));
      this.#replied(answer);
      this.#note(directory, answer.stat);
      if (answer.stat) this.#newest = larger(this.#newest, answer.stat.pzxid);
      return answer.names;
    });
    if (names) return [...childrenOf(stretch, names)];
    this.#absent.add(directory);
    return [];
  }

  #entry(path: string, key: string, keysOnly: boolean): Promise<Entry | undefined> {
    const whole = this.#entries.get(path);
    if (whole) return keysOnly ? whole.then((entry) => entry && { ...entry, value: noBytes }) : whole;
    if (keysOnly) {
      this.#guard(path);
      return this.#stat(path).then((stat) => stat && entryOf(key, noBytes, stat));
    }
    return this.#once(this.#entries, path, async () => {
      this.#guard(path);
      const answer = await this.#window.run(() => this.#link.data(path, undefined, this.#patience));
      this.#replied(answer);
      this.#see(path, answer.stat);
      return answer.stat && entryOf(key, answer.data, answer.stat);
    });
  }

  #stat(path: string): Promise<Stat | undefined> {
    return this.#once(this.#stats, path, async () => {
      const answer = await this.#window.run(() => this.#link.exists(path, undefined, this.#patience));
      this.#replied(answer);
      this.#see(path, answer.stat);
      return answer.stat;
    });
  }

  /** Before the node itself: what is created between the two must not go unnoticed. */
  #guard(path: string): void {
    if (!this.#isGuarded) return;
    const guard = this.#layout.guard(path);
    const reading = this.#once(this.#stats, guard, async () => {
      const { stat } = await this.#window.run(() => this.#link.exists(guard, undefined, this.#patience));
      this.versions.set(guard, stat?.version);
      return stat;
    });
    reading.catch(() => {});
    this.#guards.push(reading);
  }

  #once<T>(made: Map<string, Promise<T>>, path: string, make: () => Promise<T>): Promise<T> {
    const known = made.get(path);
    if (known) return known;
    const promise = make();
    made.set(path, promise);
    return promise;
  }

  #note(path: string, stat: Stat | undefined): void {
    this.versions.set(path, stat?.version);
    // Its guard was asked for first, and answered first, unless connections were lost and each asked again in its own time.
    if (this.#isGuarded && !this.versions.has(this.#layout.guard(path))) this.isOutOfOrder = true;
  }

  #see(path: string, stat: Stat | undefined): void {
    this.#note(path, stat);
    if (stat) this.#newest = larger(this.#newest, stat.mzxid);
  }

  #replied({ zxid }: { readonly zxid: bigint }): void {
    if (this.#first === undefined || zxid < this.#first) this.#first = zxid;
  }
}

/** An entry as the contract has it. */
export function entryOf(key: string, value: Uint8Array, { czxid, mzxid, ephemeralOwner }: Stat): Entry {
  const lease = ephemeralOwner === 0n ? undefined : ephemeralOwner.toString(16);
  return { key, value: plain(value), created: czxid, modified: mzxid, lease };
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

/** Not a `Buffer`, whose methods differ from those of other byte arrays. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

function below({ path, key }: Child): Stretch {
  return { directory: path, above: key, rest: "" };
}

function isPast({ key, isDirectory }: Child, startAfter: string | undefined): boolean {
  if (startAfter === undefined || (isDirectory && startAfter.startsWith(key))) return false;
  return compareKeys(key, startAfter) <= 0;
}
