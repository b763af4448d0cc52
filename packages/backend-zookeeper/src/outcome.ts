import { CoordinationError, type ErrorCode } from "@conclave/core/backend";
import { ConnectionFailure } from "./connection.ts";
import { code } from "./wire.ts";

/** How the client reports what the server, or the end of a connection, made of a request. */
interface ClientException extends Error {
  readonly code: number;
}

function isClientException(error: unknown): error is ClientException {
  return error instanceof Error && typeof (error as { code?: unknown }).code === "number";
}

function saysCode(error: unknown, err: number): boolean {
  return isClientException(error) && error.code === err;
}

/** What the server said when it refused a multi because of one of its steps. Nothing of it was applied. */
export class RefusedStep extends Error implements ClientException {
  readonly code: number;

  constructor(err: number, index: number) {
    super(`step ${index} failed with error code ${err}`);
    this.name = "RefusedStep";
    this.code = err;
  }
}

/** Whether the server would not look at a request, since the session has gone on by another connection. */
export function hasMoved(error: unknown): boolean {
  return saysCode(error, code.sessionMoved);
}

/** Whether a request surely changed nothing, and may be sent again. */
export function isUnsent(error: unknown): boolean {
  return hasMoved(error) || (error instanceof ConnectionFailure && error.kind === "lost");
}

/** Whether a connection ended before the answer came. */
export function isUnanswered(error: unknown): boolean {
  return saysCode(error, code.connectionLoss);
}

/** Whether the session is gone. What was asked for was not done. */
export function isExpired(error: unknown): boolean {
  if (error instanceof ConnectionFailure) return error.kind === "expired";
  return saysCode(error, code.sessionExpired);
}

const definite: ReadonlyMap<number, ErrorCode> = new Map([
  [code.noAuth, "DENIED"],
  [code.authFailed, "DENIED"],
  [code.invalidAcl, "DENIED"],
  [code.unimplemented, "UNSUPPORTED"],
  [code.badArguments, "UNSUPPORTED"],
  [code.quotaExceeded, "LIMIT"],
  [code.throttled, "LIMIT"],
]);

/**
 * The error to reject with. Total: a code that is not understood counts as no answer, which for a write that was sent is
 * an unknown outcome.
 */
export function failureOf(error: unknown, call: string, wasSent: boolean): Error {
  if (error instanceof ConnectionFailure && error.kind === "denied") {
    return new CoordinationError("DENIED", `ZooKeeper refused ${call}: ${error.message}`, { cause: error });
  }
  if (!isClientException(error) && !(error instanceof ConnectionFailure)) {
    return error instanceof Error ? error : new Error(String(error));
  }
  const refused = isClientException(error) ? definite.get(error.code) : undefined;
  if (refused !== undefined) {
    return new CoordinationError(refused, `ZooKeeper refused ${call}: ${error.message}`, { cause: error });
  }
  const isDefinite = isUnsent(error) || error instanceof RefusedStep;
  return noAnswer(call, wasSent && !isDefinite, error);
}

/** That a call came to nothing that is known; `wasSent` of a write that may have been applied. */
export function noAnswer(call: string, wasSent: boolean, cause: unknown): CoordinationError {
  const why = cause instanceof Error ? `: ${cause.message}` : "";
  return new CoordinationError(
    wasSent ? "OUTCOME_UNKNOWN" : "UNAVAILABLE",
    `ZooKeeper gave no answer to ${call}${why}`,
    { cause },
  );
}
