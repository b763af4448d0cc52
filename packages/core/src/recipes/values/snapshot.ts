import type { CallOptions, Condition, Entry, KV, Listing, Read, Revision } from "../../ports/kv.ts";

/** What a look at a snapshot ends with when what was seen of it before has changed. */
class Outdated extends Error {
  override readonly name = "Outdated";
}

/** Somebody who wants to know something, and waits to hear that it was read. */
interface Question {
  readonly read: Read;
  readonly answered: () => void;
  readonly failed: (reason: unknown) => void;
}

/**
 * A view of the store that is of one moment, however long one looks:
 *
 *   1. read, in one commit with the conditions that all that was read before is unchanged;
 *   2. when one does not hold the snapshot is outdated, for good, and whoever looks on is told so;
 *   3. so what was seen was all true at the moment of the last read, and is true at any later one at which `conditions` hold.
 *
 * Of what was listed each entry must be as it was, which tells of deletes and rewrites, and nothing newer be there, which
 * tells of what was added. Whoever asks while a read is under way shares the next, and what was read is not read again.
 */
export class Snapshot {
  readonly #kv: KV;
  readonly #most: number;
  readonly #options: CallOptions;
  /** What was read; undefined for a key that was absent. */
  #entries = new Map<string, Entry | undefined>();
  /** Which prefixes were listed, and when. */
  #listed = new Map<string, Revision>();
  #questions: Question[] = [];
  #reading = false;
  #outdated = false;

  /** Of at most so many entries, absent keys and prefixes. The options are those of every read. */
  constructor(kv: KV, most: number, options: CallOptions) {
    this.#kv = kv;
    this.#most = most;
    this.#options = options;
  }

  /** Whether somebody was told that it is outdated. */
  get outdated(): boolean {
    return this.#outdated;
  }

  /** Throws if it is. */
  throwIfOutdated(): void {
    if (this.#outdated) throw new Outdated("what was read before has changed since, so this attempt is over");
  }

  /** What must hold for all that was seen to be true still: one condition for each entry, absent key and prefix. */
  get conditions(): readonly Condition[] {
    return conditionsOn(this.#entries, this.#listed);
  }

  /** The entry of a key. */
  async get(key: string): Promise<Entry | undefined> {
    this.throwIfOutdated();
    if (!this.#entries.has(key) && !this.#isListed(key)) await this.#ask({ get: key });
    return this.#entries.get(key);
  }

  /** The entries under a prefix, in any order. */
  async list(prefix: string): Promise<readonly Entry[]> {
    this.throwIfOutdated();
    // One more than there may be is enough to see that they are too many.
    if (!this.#isListed(prefix)) await this.#ask({ list: prefix, limit: this.#most + 1 });
    const entries = [...this.#entries.values()].filter((entry) => entry !== undefined);
    return entries.filter(({ key }) => key.startsWith(prefix));
  }

  #isListed(keyOrPrefix: string): boolean {
    return [...this.#listed.keys()].some((prefix) => keyOrPrefix.startsWith(prefix));
  }

  #ask(read: Read): Promise<void> {
    return new Promise((answered, failed) => {
      this.#questions.push({ read, answered, failed });
      if (!this.#reading) void this.#answer();
    });
  }

  /** Until nobody asks. */
  async #answer(): Promise<void> {
    this.#reading = true;
    // Who asks in the same breath shares the read.
    await undefined;
    while (this.#questions.length > 0) {
      const questions = this.#questions.splice(0, this.#most);
      try {
        await this.#read(questions.map(({ read }) => read));
        for (const { answered } of questions) answered();
      } catch (error) {
        for (const { failed } of questions) failed(error);
      }
    }
    this.#reading = false;
  }

  async #read(reads: readonly Read[]): Promise<void> {
    this.throwIfOutdated();
    const { succeeded, results } = await this.#kv.commit({ if: this.conditions, then: reads }, this.#options);
    this.#outdated = !succeeded;
    this.throwIfOutdated();
    const entries = new Map(this.#entries);
    const listed = new Map(this.#listed);
    for (const [index, read] of reads.entries()) {
      if ("get" in read) entries.set(read.get, results[index] as Entry | undefined);
      else {
        const listing = results[index] as Listing;
        for (const entry of listing.entries) entries.set(entry.key, entry);
        listed.set(read.list, listing.revision);
      }
    }
    const conditions = conditionsOn(entries, listed).length;
    if (conditions > this.#most)
      throw new RangeError(`a transaction may read at most ${this.#most} entries, absent keys and prefixes in all`);
    this.#entries = entries;
    this.#listed = listed;
  }
}

function conditionsOn(
  entries: ReadonlyMap<string, Entry | undefined>,
  listed: ReadonlyMap<string, Revision>,
): readonly Condition[] {
  return [
    ...[...entries].map(([key, entry]) => (entry ? { key, modified: entry.modified } : { key, exists: false })),
    ...[...listed].map(([prefix, revision]) => ({ prefix, noneModifiedAfter: revision })),
  ];
}
