import { compareKeys, type Entry } from "@conclave/core/backend";

/** Entries by key, in the order of their keys' UTF-8 bytes, so that a prefix is one stretch. */
export class KeySpace {
  readonly #entries = new Map<string, Entry>();
  readonly #keys: string[] = [];

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  set(entry: Entry): void {
    if (!this.#entries.has(entry.key)) this.#keys.splice(this.#place(entry.key), 0, entry.key);
    this.#entries.set(entry.key, entry);
  }

  delete(key: string): void {
    if (this.#entries.delete(key)) this.#keys.splice(this.#place(key), 1);
  }

  /** The entries under a prefix; of them those after a key, if one is given. */
  *under(prefix: string, startAfter?: string): Generator<Entry, void, undefined> {
    const past = startAfter !== undefined && compareKeys(startAfter, prefix) >= 0;
    let place = this.#place(past ? startAfter : prefix);
    if (past && this.#keys[place] === startAfter) place += 1;
    for (let key = this.#keys[place]; key?.startsWith(prefix); key = this.#keys[place]) {
      yield this.#entries.get(key) as Entry;
      place += 1;
    }
  }

  /** Where a key is, or would be. */
  #place(key: string): number {
    let [low, high] = [0, this.#keys.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(this.#keys[middle] as string, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
