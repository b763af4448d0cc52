import { CoordinationError, type ErrorCode, isCoordinationError } from "@conclave/core/backend";

/**
 * What a call does to the store: a read may be repeated anywhere; a repeatable write names its own identity, so that
 * doing it twice is doing it once; any other write must not be sent again once it may have arrived.
 */
export type Effect = "read" | "repeatable" | "write";

/** How gRPC reports a failure. */
interface GrpcFailure extends Error {
  readonly code: number;
  readonly details: string;
}

function isGrpcFailure(error: unknown): error is GrpcFailure {
  return error instanceof Error && typeof (error as { details?: unknown }).details === "string";
}

export function hasDetails(error: unknown, pattern: RegExp): boolean {
  return isGrpcFailure(error) && pattern.test(error.details);
}

const code = {
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

const unsent: ReadonlyMap<number, RegExp> = new Map([
  [code.deadlineExceeded, /waiting for (LB pick|name resolution)/i],
  [code.internal, /^Failed to start HTTP\/2 stream/],
  [
    code.unavailable,
    /^(No connection established|Name resolution failed|Channel closed before|Stream refused by server)|^etcdserver: (no leader|rpc not supported for learner)$/,
  ],
]);

/**
 * Whether the store surely never took the request up: no connection was chosen for it or would take it, the server
 * refused the stream, or it turned the call away before looking at it. Anything else may have been applied.
 */
export function isUnsent(error: unknown): boolean {
  return isGrpcFailure(error) && unsent.get(error.code)?.test(error.details) === true;
}

const staleToken = /invalid auth token|revision of auth store is old|user name is empty/;

/** Whether the login has expired; nothing was applied, and a new login mends it. */
export function isStaleToken(error: unknown): boolean {
  return hasDetails(error, staleToken);
}

export function saysStaleToken(reason: string): boolean {
  return staleToken.test(reason);
}

export function isTimeUp(error: unknown): boolean {
  return isGrpcFailure(error) && error.code === code.deadlineExceeded;
}

/** Whether TLS failed because one side does not trust the other; only a person can mend that. */
export function isUntrusted(error: unknown): boolean {
  return hasDetails(error, /^No connection established\. Last error: .*(certificate|altnames|self.signed|alert)/is);
}

/** Whether another attempt, here or elsewhere, may end better: so a login that got no answer, like any call. */
export function isPassing(error: unknown): boolean {
  if (!isGrpcFailure(error)) return isCoordinationError(error, "UNAVAILABLE");
  return isUnsent(error) || definiteCode(error) === undefined;
}

/** What the server decided, with nothing applied; undefined when the failure says nothing about that. */
function definiteCode(error: GrpcFailure): ErrorCode | undefined {
  switch (error.code) {
    case code.unauthenticated:
    case code.permissionDenied:
      return "DENIED";
    case code.invalidArgument:
      if (/auth|user name/.test(error.details)) return "DENIED";
      return /too (large|many)/.test(error.details) ? "LIMIT" : "UNSUPPORTED";
    case code.notFound:
      return "LEASE_LOST";
    case code.resourceExhausted:
      // Other senders of this code are on our side of the wire, and a reply that we could not take was a reply.
      return /^(etcdserver: |grpc: received message larger)/.test(error.details) ? "LIMIT" : undefined;
    case code.failedPrecondition:
    case code.outOfRange:
    case code.unimplemented:
      return "UNSUPPORTED";
    case code.unavailable:
      return isUntrusted(error) ? "DENIED" : undefined;
    default:
      return undefined;
  }
}

/** As gRPC would say it, when our own patience with a connection ends first. */
export function noConnection(url: string, afterMs: number): GrpcFailure {
  const details = `No connection established to ${url} within ${Math.round(afterMs)} ms`;
  return Object.assign(new Error(details), { code: code.unavailable, details });
}

/**
 * The error to reject with. Total: what is not understood counts as unanswered, which for a write that may have been
 * taken up is an unknown outcome.
 */
export function failureOf(
  error: unknown,
  call: { readonly method: string; readonly effect: Effect },
  maybeApplied: boolean,
): Error {
  if (!isGrpcFailure(error)) return error instanceof Error ? error : new Error(String(error));
  const definite = definiteCode(error);
  if (definite !== undefined) {
    return new CoordinationError(definite, `etcd refused ${call.method}: ${error.details}`, { cause: error });
  }
  const unknown = call.effect !== "read" && maybeApplied;
  return new CoordinationError(
    unknown ? "OUTCOME_UNKNOWN" : "UNAVAILABLE",
    `etcd gave no answer to ${call.method}: ${error.details}`,
    { cause: error },
  );
}
