/**
 * What went wrong, for programs to act on:
 *
 * - `LEASE_LOST` the session's lease is gone, or may be: whatever it held may be another's. Start again from the top.
 * - `UNAVAILABLE` the store gave no answer and nothing was applied. Try again.
 * - `OUTCOME_UNKNOWN` a write was sent and no answer came: it may or may not have been applied. Look before trying again.
 * - `BROKEN` a member of a double barrier died, so the others cannot pass it, or leave it, together. Enter it anew.
 * - `NOT_HELD` a hold, leadership or registration was used after it ended.
 * - `CLOSED` the backend, the session or the conclave was closed.
 * - `LIMIT` the store refused for want of room: a full disk, too many requests, a message too large.
 * - `CORRUPT` a value that cannot be what was written there: somebody else wrote it.
 * - `UNSUPPORTED` the server is too old for what was asked.
 * - `DENIED` wrong credentials, an untrusted certificate, or no permission.
 */
export type ErrorCode =
  | "LEASE_LOST"
  | "UNAVAILABLE"
  | "OUTCOME_UNKNOWN"
  | "BROKEN"
  | "NOT_HELD"
  | "CLOSED"
  | "LIMIT"
  | "CORRUPT"
  | "UNSUPPORTED"
  | "DENIED";

/**
 * Every deliberate failure. Match on `code`, which is part of the API; messages are for people. Programming mistakes
 * are `TypeError` and `RangeError` instead, and a cancelled call rejects with its signal's own reason.
 */
export class CoordinationError extends Error {
  /** What went wrong, for programs to act on. */
  readonly code: ErrorCode;

  /** For backends. `options.cause` is what the driver threw, if anything. */
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CoordinationError";
    this.code = code;
  }
}

/** What was thrown, in words: anything can be, even what has none. */
export function inWords(thrown: unknown): string {
  try {
    return String(thrown);
  } catch {
    return `a ${typeof thrown}`;
  }
}

/** Whether an error is a `CoordinationError`, with one of the given codes if any are given; true across copies of this package. */
export function isCoordinationError(error: unknown, ...codes: readonly ErrorCode[]): error is CoordinationError {
  if (!(error instanceof Error) || error.name !== "CoordinationError") return false;
  return codes.length === 0 || codes.includes((error as CoordinationError).code);
}
