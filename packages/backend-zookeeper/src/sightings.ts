import type { Revision, Selection, WatchRange } from "@conclave/core/backend";
import type { Selected, View } from "./view.ts";

/** Somebody who is shown changes, next to what reads show. */
export interface Onlooker {
  readonly range: WatchRange;
  /** Told that keys in its range were read to be there at a revision. Whether all it was shown so far agrees with that. */
  sees(keys: readonly string[], revision: Revision): boolean;
  /** Told that keys in its range were written at a revision; it may have been shown later ones already. */
  wrote(keys: readonly string[], revision: Revision): void;
}

/**
 * What this client's reads and writes have shown to be there, told to its watches. A key that comes and goes between two
 * looks of a watch leaves no trace there; but who saw it by a read, and goes by the watch from then on, must be told that
 * it is gone.
 */
export class Sightings {
  /** Those who look at one key, of whom there may be thousands. */
  readonly #ofKeys = new Map<string, Set<Onlooker>>();
  readonly #ofPrefixes = new Set<Onlooker>();

  add(onlooker: Onlooker): void {
    const { range } = onlooker;
    if ("prefix" in range) this.#ofPrefixes.add(onlooker);
    else this.#ofKeys.set(range.key, (this.#ofKeys.get(range.key) ?? new Set()).add(onlooker));
  }

  remove(onlooker: Onlooker): void {
    const { range } = onlooker;
    if ("prefix" in range) this.#ofPrefixes.delete(onlooker);
    else {
      const together = this.#ofKeys.get(range.key);
      together?.delete(onlooker);
      if (together?.size === 0) this.#ofKeys.delete(range.key);
    }
  }

  /** Whether it may be shown: not when a watch has shown already that it is gone. */
  see(keys: readonly string[], revision: Revision): boolean {
    let agree = true;
    for (const [onlooker, own] of this.#concerned(keys)) agree = onlooker.sees(own, revision) && agree;
    return agree;
  }

  /** What was written is as good as shown to who wrote it, and not to be taken back. */
  wrote(keys: readonly string[], revision: Revision): void {
    for (const [onlooker, own] of this.#concerned(keys)) onlooker.wrote(own, revision);
  }

  /** Whom these keys concern, and which of them. */
  *#concerned(keys: readonly string[]): Iterable<readonly [Onlooker, readonly string[]]> {
    for (const key of keys) for (const onlooker of this.#ofKeys.get(key) ?? []) yield [onlooker, [key]];
    for (const onlooker of this.#ofPrefixes) {
      const { prefix } = onlooker.range as { readonly prefix: string };
      const own = keys.filter((key) => key.startsWith(prefix));
      if (own.length > 0) yield [onlooker, own];
    }
  }
}

/** A view that remembers what it has shown to be there. */
export class Sighted implements View {
  readonly keys: string[] = [];
  readonly #view: View;

  constructor(view: View) {
    this.#view = view;
  }

  async entry(...[key, keysOnly]: Parameters<View["entry"]>): ReturnType<View["entry"]> {
    const entry = await this.#view.entry(key, keysOnly);
    if (entry) this.keys.push(key);
    return entry;
  }

  async list(prefix: string, selection: Selection): Promise<Selected> {
    const selected = await this.#view.list(prefix, selection);
    for (const { key } of selected.entries) this.keys.push(key);
    return selected;
  }
}
