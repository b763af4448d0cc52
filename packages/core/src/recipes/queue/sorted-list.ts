/** Things in an order in which no two of them are equal. */
export class SortedList<T> implements Iterable<T> {
  readonly #isBefore: (one: T, other: T) => boolean;
  readonly #list: T[] = [];

  constructor(isBefore: (one: T, other: T) => boolean) {
    this.#isBefore = isBefore;
  }

  get first(): T | undefined {
    return this.#list[0];
  }

  add(one: T): void {
    this.#list.splice(this.#placeOf(one), 0, one);
  }

  /** Whether it was there. */
  delete(one: T): boolean {
    const place = this.#placeOf(one);
    if (this.#list[place] !== one) return false;
    this.#list.splice(place, 1);
    return true;
  }

  [Symbol.iterator](): Iterator<T> {
    return this.#list.values();
  }

  /** How many come before it. */
  #placeOf(one: T): number {
    let [from, to] = [0, this.#list.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#isBefore(this.#list[middle] as T, one)) from = middle + 1;
      else to = middle;
    }
    return from;
  }
}
