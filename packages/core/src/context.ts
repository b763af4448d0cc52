import { checkName, checkText, outOfRange } from "./arguments.ts";
import { byteLength } from "./bytes.ts";
import type { Backend, Limits } from "./ports/backend.ts";
import type { Receipts } from "./receipts.ts";
import type { Sessions } from "./sessions.ts";

/** What every wait takes. It lasts until it succeeds, this process's session ends, or the signal aborts. */
export interface WaitOptions {
  /**
   * Ends the wait, which then rejects with `signal.reason`; a deadline is `AbortSignal.timeout(ms)`. At once, unless a write
   * is under way: that settles first, for as long as the backend's deadline of a call if the store does not answer.
   */
  readonly signal?: AbortSignal | undefined;
}

/** What every recipe of a conclave stands on. */
export interface Context {
  readonly backend: Backend;
  readonly sessions: Sessions;
  /** For writes that must be applied once. */
  readonly receipts: Receipts;
  /** What this process calls itself in the keys it holds. */
  readonly owner: string;
  /** Aborts with `CLOSED` when the conclave closes. */
  readonly closed: AbortSignal;
  warn(warning: string): void;
}

/**
 * A name of at most 400 bytes, or for sharing with other languages the raw prefix, ending in "/", under which all of them
 * keep their keys: with etcd's own tools, `/locks/` for `etcdctl lock /locks`. A conclave with a namespace puts that
 * before the prefix too, so share through a conclave without one, or tell the others the whole prefix.
 */
export type Name = string | { readonly prefix: string };

/** What a name may take of a key's 512 bytes; the rest is for what stands before and after it. */
const maxNameBytes = 400;

/** What a key's last segment may take: a lease's id and a number, or an id that the clock made. */
const lastSegmentBytes = 48;

/** One segment of a key, so escaped that no name's prefix covers another's. */
export function segment(name: string): string {
  return name.replaceAll("%", "%25").replaceAll("/", "%2F");
}

/** What `segment` escaped. */
export function unsegment(escaped: string): string {
  return escaped.replaceAll("%2F", "/").replaceAll("%25", "%");
}

/** The prefix of a named thing's keys: `<kind>/<name>/`, or the raw one given. */
export function prefixOf(kind: string, name: Name): string {
  if (typeof name === "object" && name !== null) {
    checkText(`prefix of the ${kind}`, name.prefix);
    if (!name.prefix.endsWith("/")) throw outOfRange(`prefix of the ${kind}`, name.prefix, 'a prefix that ends in "/"');
    return name.prefix;
  }
  checkName(`name of the ${kind}`, name);
  const escaped = segment(name);
  if (byteLength(escaped) > maxNameBytes) {
    throw new RangeError(`name of the ${kind} must be at most ${maxNameBytes} bytes, not ${byteLength(escaped)}`);
  }
  return `${kind}/${escaped}/`;
}

/** Refuses a name whose `prefix` leaves a key no room; `limits` are those within the namespace. */
export function checkRoom(kind: string, name: Name, prefix: string, limits: Limits): void {
  const mostBytes = limits.maxKeyBytes - lastSegmentBytes;
  const bytes = byteLength(prefix);
  if (bytes <= mostBytes) return;
  const argument =
    typeof name === "string" ? `name of the ${kind} must make a prefix of` : `prefix of the ${kind} must be`;
  throw new RangeError(`${argument} at most ${mostBytes} bytes of UTF-8 in this namespace, not ${bytes}`);
}

/** The prefix of a named thing's keys, with room under it, and under `below` it, in this namespace. */
export function roomyPrefixOf(kind: string, name: Name, limits: Limits, below = ""): string {
  const prefix = prefixOf(kind, name);
  checkRoom(kind, name, prefix, { ...limits, maxKeyBytes: limits.maxKeyBytes - byteLength(below) });
  return prefix;
}
