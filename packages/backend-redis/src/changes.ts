import { CoordinationError, type Revision } from "@conclave/core/backend";
import type { Reply } from "./link.ts";

/** The place of an entry in the stream: its revision, and which of the revision's parts it is. */
export interface Position {
  readonly revision: Revision;
  readonly part: number;
}

/** One key's change as the store tells it; `packed` is for `decodeEntry`, and undefined where the key is gone. */
export interface PackedChange {
  readonly key: string;
  readonly packed: Buffer | undefined;
}

/** One entry of the stream. */
export interface StreamEntry {
  readonly at: Position;
  /** The entry before it when it was written: who read that one before this one has missed nothing. */
  readonly after: Position;
  /** Whether another part of the same revision follows. */
  readonly more: boolean;
  readonly changes: readonly PackedChange[];
}

export function isSamePosition(one: Position, other: Position): boolean {
  return one.revision === other.revision && one.part === other.part;
}

export function isBefore(one: Position, other: Position): boolean {
  return one.revision === other.revision ? one.part < other.part : one.revision < other.revision;
}

/** Throws `CORRUPT`. */
export function decodePosition(id: Reply | undefined): Position {
  const [, revision, part] = /^(\d+)-(\d+)$/.exec(String(id)) ?? [];
  if (revision === undefined) {
    throw new CoordinationError("CORRUPT", "the stream of changes has something that was not written by this backend");
  }
  return { revision: BigInt(revision), part: Number(part) };
}

export function encodePosition({ revision, part }: Position): string {
  return `${revision}-${part}`;
}

/** What XREAD gave of one stream, oldest first; nothing where its time ran out. Throws `CORRUPT`. */
export function decodeEntries(reply: Reply): readonly StreamEntry[] {
  const [stream] = (reply ?? []) as readonly [(readonly Reply[])?];
  return ((stream?.[1] ?? []) as readonly [Buffer, readonly Buffer[]][]).map(([id, fields]) =>
    decodeStreamEntry(id, fields),
  );
}

/** Its fields begin with `after` and `more`; the script's `publish` writes them. */
function decodeStreamEntry(id: Buffer, [, after, , more, ...fields]: readonly Buffer[]): StreamEntry {
  const changes: PackedChange[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const [name, packed] = [fields[index] as Buffer, fields[index + 1] as Buffer];
    changes.push({ key: name.toString("utf8", 1), packed: name[0] === put ? packed : undefined });
  }
  return { at: decodePosition(id), after: decodePosition(after), more: String(more) === "1", changes };
}

const put = "p".charCodeAt(0);
