/**
 * Watches that ZooKeeper keeps for one connection, each good for one call. The client gets one function for each path,
 * however many wait there: it would have Node print that eleven of them look like a leak.
 */
export class OneShots {
  readonly #places = new Map<string, { readonly waiting: Set<() => void>; readonly fire: () => void }>();

  /** What to give to the client for this place. */
  at(place: string): () => void {
    return this.#place(place).fire;
  }

  /** From when the server has set a watch. */
  add(place: string, watch: () => void): void {
    this.#place(place).waiting.add(watch);
  }

  fireAll(): void {
    for (const { fire } of [...this.#places.values()]) fire();
  }

  #place(place: string): { readonly waiting: Set<() => void>; readonly fire: () => void } {
    const known = this.#places.get(place);
    if (known) return known;
    const waiting = new Set<() => void>();
    const fire = () => {
      // Whoever waits there now: the client may have been given this function before an earlier watch called.
      const now = this.#places.get(place)?.waiting ?? [];
      this.#places.delete(place);
      // Not from within the client, which would take what a watch throws for trouble of its own.
      for (const watch of now) queueMicrotask(watch);
    };
    const created = { waiting, fire };
    this.#places.set(place, created);
    return created;
  }
}
