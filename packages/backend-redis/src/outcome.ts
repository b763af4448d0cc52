import { CoordinationError, type ErrorCode } from "@conclave/core/backend";

/**
 * What a call does to the store: a read may be repeated; a repeatable write names its own identity, so that doing it
 * twice is doing it once; any other write must not be sent again once it may have been applied.
 */
export type Effect = "read" | "repeatable" | "write";

/** The call never left: there was no connection to send it by, or it was about to be closed. */
export class NotSent extends Error {
  override readonly name = "NotSent";
}

/** What a failure tells of the call that it ended. */
export interface Verdict {
  /** Whether the call surely changed nothing. */
  readonly untouched: boolean;
  /** What was decided for good; undefined while another attempt may end better. */
  readonly code: ErrorCode | undefined;
  /** Whether the primary must be looked for anew. */
  readonly elsewhere: boolean;
}

const lost: Verdict = { untouched: false, code: undefined, elsewhere: false };
const passing: Verdict = { untouched: true, code: undefined, elsewhere: false };
const elsewhere: Verdict = { untouched: true, code: undefined, elsewhere: true };
const final = (code: ErrorCode): Verdict => ({ untouched: true, code, elsewhere: false });

/**
 * Replies that come before anything was done. Redis checks for room, replicas, disk and role at a script's first write
 * only, so these hold for scripts too.
 */
const refusals: ReadonlyMap<string, Verdict> = new Map([
  ["LOADING", passing],
  ["BUSY", passing],
  ["NOREPLICAS", passing],
  ["MASTERDOWN", passing],
  // While a slot migrates, its keys are on two nodes; a script needs all of them on one, and so waits for the end.
  ["TRYAGAIN", passing],
  ["ASK", passing],
  ["CLUSTERDOWN", passing],
  ["MOVED", elsewhere],
  ["READONLY", elsewhere],
  // A blocked command whose server stops being primary.
  ["UNBLOCKED", elsewhere],
  ["OOM", final("LIMIT")],
  ["MISCONF", final("LIMIT")],
  ["NOAUTH", final("DENIED")],
  ["WRONGPASS", final("DENIED")],
  ["NOPERM", final("DENIED")],
  // "Redis is running in protected mode".
  ["DENIED", final("DENIED")],
]);

/** What Redis 6.2 wraps around an error that a command gave to a script; later versions give the error itself. */
const wrapped = /@user_script: ?\d+: -([A-Z]+ .*)$/s;
const deniedInScript = /^(ERR|NOPERM) (The user executing the script can't|ACL failure in script)/;
const untrusted = /^(CERT_|ERR_TLS_CERT|ERR_SSL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH)/;

/** Whether it is an error that the server replied with. */
export function isReply(error: unknown): error is Error {
  return error instanceof Error && error.name === "ReplyError";
}

/** Where a cluster says the keys are, if that is what the error says; an empty host is that of the server that said so. */
export function movedTo(error: unknown): { readonly host: string; readonly port: number } | undefined {
  if (!isReply(error)) return undefined;
  const [, host = "", port] = /^MOVED \d+ (\S*):(\d+)/.exec(error.message) ?? [];
  return port === undefined ? undefined : { host, port: Number(port) };
}

/** What an error says of the call it ended. Total: what is not understood counts as possibly applied. */
export function verdictOn(error: unknown): Verdict {
  if (error instanceof NotSent) return passing;
  if (error instanceof CoordinationError) return { untouched: true, code: error.code, elsewhere: false };
  if (!isReply(error)) {
    return error instanceof Error && untrusted.test(String((error as NodeJS.ErrnoException).code))
      ? final("DENIED")
      : lost;
  }
  const message = wrapped.exec(error.message)?.[1] ?? error.message;
  // Whatever the script did before it met the command that its user lacks is done.
  if (deniedInScript.test(message)) return { ...final("DENIED"), untouched: false };
  const known = refusals.get(/^[A-Z]+/.exec(message)?.[0] ?? "");
  if (known !== undefined) return known;
  if (/^ERR (unknown command|DB index|SELECT is not allowed|This instance has cluster support disabled)/.test(message))
    return final("UNSUPPORTED");
  return { untouched: false, code: message.startsWith("WRONGTYPE") ? "CORRUPT" : "UNAVAILABLE", elsewhere: false };
}

/** The error to reject a call with that will not be tried again. */
export function failureOf(
  error: unknown,
  call: { readonly name: string; readonly effect: Effect },
  maybeApplied: boolean,
): Error {
  if (error instanceof CoordinationError) return error;
  const { code } = verdictOn(error);
  const said = error instanceof Error ? error.message : String(error);
  const failure = (as: ErrorCode, what: string) =>
    new CoordinationError(as, `${what} ${call.name}: ${said}`, { cause: error });
  if (maybeApplied && call.effect !== "read") return failure("OUTCOME_UNKNOWN", "it is unknown whether Redis keeps");
  if (code !== undefined) return failure(code, "Redis refused");
  return failure("UNAVAILABLE", isReply(error) ? "Redis would not do" : "Redis gave no answer to");
}
