/** What to do when an item comes, says something else, or goes. */
export interface NewsCallbacks<Item> {
  came(item: Item): void;
  changed(item: Item, before: Item): void;
  went(item: Item): void;
}

/**
 * Calls back for every item there is in the first of a series of states, and then for each that comes, changes or goes
 * from one state to the next, until disposed. `failed` is told what a callback threw, and the next is called all the same;
 * `ended` is told why the states failed, if they did.
 */
export function tellNews<State, Item>(source: {
  readonly states: (until: AbortSignal) => AsyncIterable<State>;
  /** The items of a state, each by what tells it from every other. */
  readonly items: (state: State) => ReadonlyMap<string, Item>;
  readonly same: (one: Item, other: Item) => boolean;
  readonly callbacks: NewsCallbacks<Item>;
  readonly failed: (error: unknown) => void;
  readonly ended: (reason: unknown) => void;
}): Disposable {
  const { callbacks, same } = source;
  const disposed = new AbortController();
  const call = (callback: () => unknown) => {
    if (disposed.signal.aborted) return;
    // One that is asynchronous fails later, and is not waited for either.
    new Promise((resolve) => resolve(callback())).catch(source.failed);
  };
  const tell = async () => {
    let known: ReadonlyMap<string, Item> = new Map<string, Item>();
    for await (const state of source.states(disposed.signal)) {
      const now = source.items(state);
      for (const [name, item] of known) if (!now.has(name)) call(() => callbacks.went(item));
      for (const [name, item] of now) {
        const before = known.get(name);
        if (before === undefined) call(() => callbacks.came(item));
        else if (!same(before, item)) call(() => callbacks.changed(item, before));
      }
      known = now;
    }
  };
  tell().catch(source.ended);
  return { [Symbol.dispose]: () => disposed.abort() };
}
