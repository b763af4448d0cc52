import type { Revision, Selection } from "@conclave/core/backend";
import type { Selected, View } from "./view.ts";

/** Somebody who is shown changes, next to what reads show. */
export interface Onlooker {
  /** Told that keys were read to be there at a revision. Whether all it was shown so far agrees with that. */
  sees(keys: readonly string[], revision: Revision): boolean;
  /** Told that keys were written at a revision; it may have been shown later ones already. */
  wrote(keys: readonly string[], revision: Revision): void;
}

/**
 * What this client's reads and writes have shown to be there, told to its watches. A key that comes and goes between two
 * looks of a watch leaves no trace there; but who saw it by a read, and goes by the watch from then on, must be told that
 * it is gone.
 */
export class Sightings {
  readonly #onlookers = new Set<Onlooker>();

  add(onlooker: Onlooker): void {
    this.#onlookers.add(onlooker);
  }

  remove(onlooker: Onlooker): void {
    this.#onlookers.delete(onlooker);
  }

  /** Whether it may be shown: not when a watch has shown already that it is gone. */
  see(keys: readonly string[], revision: Revision): boolean {
    let agree = true;
    for (const onlooker of this.#onlookers) agree = onlooker.sees(keys, revision) && agree;
    return agree;
  }

  /** What was written is as good as shown to who wrote it, and not to be taken back. */
  wrote(keys: readonly string[], revision: Revision): void {
    for (const onlooker of this.#onlookers) onlooker.wrote(keys, revision);
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
