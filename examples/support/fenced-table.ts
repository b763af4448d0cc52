/**
 * A table of the kind that fencing tokens are for. It remembers with each row the largest token that wrote it, and refuses
 * a smaller one: in SQL, `update … set fence = $1 where id = $2 and fence <= $1`. Tokens of two stores do not compare; a
 * later store's have a larger era: `set era = $1, fence = $2 where id = $3 and (era, fence) <= ($1, $2)`.
 */
export class FencedTable<Row> {
  readonly #rows = new Map<string, { readonly row: Row; readonly era: number; readonly fence: bigint }>();

  get(id: string): Row | undefined {
    return this.#rows.get(id)?.row;
  }

  /** Whether the row was written: not if somebody with a larger token, or of a later era, wrote it before. */
  write(id: string, row: Row, token: bigint, era = 0): boolean {
    const before = this.#rows.get(id);
    if (before && (era < before.era || (era === before.era && token < before.fence))) return false;
    this.#rows.set(id, { row, era, fence: token });
    return true;
  }
}
