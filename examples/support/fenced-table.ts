/**
 * A table of the kind that fencing tokens are for. It remembers with each row the largest token that wrote it, and refuses
 * a smaller one: in SQL, `update … set fence = $1 where id = $2 and fence <= $1`.
 */
export class FencedTable<Row> {
  readonly #rows = new Map<string, { readonly row: Row; readonly fence: bigint }>();

  get(id: string): Row | undefined {
    return this.#rows.get(id)?.row;
  }

  /** Whether the row was written: not if somebody with a larger token wrote it before. */
  write(id: string, row: Row, token: bigint): boolean {
    const fence = this.#rows.get(id)?.fence ?? 0n;
    if (token < fence) return false;
    this.#rows.set(id, { row, fence: token });
    return true;
  }
}
