import { type Backend, isCoordinationError, type Revision } from "@conclave/core/backend";
import { eventually } from "../../../test/harness/eventually.ts";
import { put } from "./rig.ts";

/** What writers were told of each write, to be held against what the store has afterwards. Every write makes a key of its own. */
export class Ledger {
  readonly done: Map<string, Revision> = new Map();
  readonly undone: Set<string> = new Set();
  readonly unknown: Set<string> = new Set();
  /** Keys that were there although only we make them, and once: the write had been carried out before. */
  readonly twice: string[] = [];
  /** Revisions that a writer was given after a larger or an equal one. */
  readonly backwards: string[] = [];
  /** What may not happen. */
  readonly failures: unknown[] = [];
  readonly prefix: string;
  #stopping = false;
  #writers: Promise<void>[] = [];
  #next = 0;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  get writes(): number {
    return this.done.size + this.undone.size + this.unknown.size;
  }

  /** Writes one after the other, until `stop`, or until something happens that may not. */
  startWriters(backend: Backend, count: number): void {
    const writers = Array.from({ length: count }, async () => {
      let last = 0n;
      while (!this.#stopping && this.failures.length === 0) {
        const revision = await this.write(backend);
        if (revision === undefined) continue;
        if (revision <= last) this.backwards.push(`${revision} after ${last}`);
        last = revision;
      }
    });
    this.#writers.push(...writers);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#writers.splice(0));
    this.#stopping = false;
  }

  /** Waits until so many more writes were acknowledged. */
  async acknowledges(more: number): Promise<void> {
    const target = this.done.size + more;
    await eventually(() => this.done.size >= target, { timeoutMs: 20_000, everyMs: 5 });
  }

  async write(backend: Backend): Promise<Revision | undefined> {
    const key = `${this.prefix}${this.#next++}`;
    try {
      const commit = await backend.kv.commit({ if: [{ key, exists: false }], then: [put(key, key)] });
      if (!commit.succeeded) this.twice.push(key);
      else this.done.set(key, commit.revision);
      return commit.succeeded ? commit.revision : undefined;
    } catch (error) {
      if (isCoordinationError(error, "UNAVAILABLE")) this.undone.add(key);
      else if (isCoordinationError(error, "OUTCOME_UNKNOWN")) this.unknown.add(key);
      else this.failures.push(error);
      return undefined;
    }
  }

  /** Acknowledged writes that the store has not, or not as it said, and refused ones that it has. */
  async audit(backend: Backend): Promise<{ readonly lost: readonly string[]; readonly ghosts: readonly string[] }> {
    const { entries } = await eventually(() => backend.kv.list(this.prefix, { keysOnly: true }));
    const kept = new Map(entries.map((entry) => [entry.key, entry]));
    return {
      lost: [...this.done].filter(([key, revision]) => kept.get(key)?.modified !== revision).map(([key]) => key),
      ghosts: [...this.undone].filter((key) => kept.has(key)),
    };
  }
}
