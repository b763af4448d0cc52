import { isCoordinationError, type Revision } from "@conclave/core/backend";
import {
  decodeEntries,
  encodePosition,
  isSamePosition,
  type PackedChange,
  type Position,
  type StreamEntry,
} from "./changes.ts";
import type { Connection } from "./connection.ts";
import type { Link } from "./link.ts";
import { failureOf } from "./outcome.ts";

/** How long one read waits for changes; an answer without any is a sign of life. */
const blockMs = 1_000;
const entriesPerRead = 100;

/** Who wants to know. */
export interface ChangeListener {
  /** Whether anybody still does. */
  readonly wanted: () => boolean;
  /** The newest revision that its client has seen, in whatever way. */
  readonly seen: () => Revision;
  /** What one revision changed; revisions come in order, and between gaps none is missing. */
  readonly changed: (revision: Revision, changes: readonly PackedChange[]) => void;
  /** Changes may have been missed; what comes from now on is whole again. */
  readonly missed: () => void;
  /** The store will not have it, and would not the next time either. */
  readonly refused: (error: unknown) => void;
}

/**
 * Reads the stream of changes over a connection of its own, for all watches of a client, and proves that it misses
 * nothing: every entry names the one before it. So it does not matter why something may be missing, be it that the
 * stream was trimmed while we were away, or that another primary has another history.
 */
export class ChangeReader {
  readonly #connection: Connection;
  readonly #stream: string;
  readonly #listener: ChangeListener;
  /** The last entry that was read; undefined while nothing is read. */
  #position: Position | undefined;
  /** What came so far of a revision in several entries. */
  #parts: PackedChange[] = [];
  #link: Link | undefined;
  /** Where the last read over this link found nothing; undefined where it found something, or there was none. */
  #emptyAt: Position | undefined;
  /** What is not newer than this is in the stream before `#position`, or lost and told of by a gap. */
  #settled: Revision = 0n;

  constructor(connection: Connection, stream: string, listener: ChangeListener) {
    this.#connection = connection;
    this.#stream = stream;
    this.#listener = listener;
  }

  /** The last entry that was read; undefined while nothing is read. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Begins after this entry, the last one when the store was at `revision`, unless it is reading already. */
  begin(tail: Position, revision: Revision): void {
    if (this.#position !== undefined) return;
    this.#position = tail;
    this.#settled = revision;
    void this.#read();
  }

  /**
   * Goes on after `tail`, unless it no longer stands at `from`: the store has another history than that which we read.
   */
  skip(from: Position, tail: Position, revision: Revision): void {
    if (from !== this.#position) return;
    this.#position = tail;
    this.#miss(revision);
  }

  /**
   * Reads on over another link where this one says that there is nothing, though there is. One that has not answered yet
   * may have much to bring, which would begin anew; if it brings nothing, it notices that itself.
   */
  reconnect(): void {
    if (this.#emptyAt === this.#position) this.#link?.drop(new Error("the stream of changes stands still"));
  }

  async #read(): Promise<void> {
    while (this.#listener.wanted()) {
      try {
        this.#link = await this.#connection.link();
        await this.#readFrom(this.#link);
      } catch (error) {
        if (this.#connection.closed.aborted) break;
        if (this.#link !== undefined) {
          this.#connection.heed(this.#link, error);
          this.#link.drop(error as Error);
        }
        const failure = failureOf(error, { name: "watch", effect: "read" }, false);
        if (!isCoordinationError(failure, "UNAVAILABLE")) this.#listener.refused(failure);
      }
      this.#link = undefined;
    }
    this.#position = undefined;
    this.#parts = [];
  }

  async #readFrom(link: Link): Promise<void> {
    this.#emptyAt = undefined;
    while (this.#listener.wanted()) {
      const [from, seen] = [this.#position as Position, this.#listener.seen()];
      const query = ["COUNT", entriesPerRead, "BLOCK", blockMs, "STREAMS", this.#stream, encodePosition(from)];
      const entries = decodeEntries(await link.send("XREAD", query, blockMs));
      this.#emptyAt = entries.length === 0 ? from : undefined;
      // Meanwhile it may have skipped to somewhere else.
      if (from !== this.#position) continue;
      // What its client saw before it asked is in the stream, unless it was lost with another primary.
      const [next] = entries;
      const isLost = next === undefined || (next.at.revision > seen && isSamePosition(next.after, from));
      if (isLost && seen > from.revision && seen > this.#settled) this.#miss(seen);
      for (const entry of entries) this.#take(entry);
    }
  }

  #miss(settled: Revision): void {
    this.#settled = settled;
    this.#parts = [];
    this.#listener.missed();
  }

  #take({ at, after, more, changes }: StreamEntry): void {
    const last = this.#position as Position;
    if (!isSamePosition(after, last)) this.#miss(this.#listener.seen());
    this.#position = at;
    this.#parts.push(...changes);
    if (more) return;
    this.#listener.changed(at.revision, this.#parts);
    this.#parts = [];
  }
}
