/**
 * What a call does to the store: a read may be repeated anywhere; a repeatable write names its own identity, so that
 * doing it twice is doing it once; any other write must not be sent again once it may have arrived.
 */
export type Effect = "read" | "repeatable" | "write";
/** How gRPC reports a failure. */
export interface GrpcFailure extends Error {
  readonly code: number;
  readonly details: string;
}
export declare function isGrpcFailure(error: unknown): error is GrpcFailure;
export declare function hasDetails(error: unknown, pattern: RegExp): boolean;
export declare const code: {
  readonly unknown: 2;
  readonly invalidArgument: 3;
  readonly deadlineExceeded: 4;
  readonly notFound: 5;
  readonly permissionDenied: 7;
  readonly resourceExhausted: 8;
  readonly failedPrecondition: 9;
  readonly outOfRange: 11;
  readonly unimplemented: 12;
  readonly unavailable: 14;
  readonly unauthenticated: 16;
};
/**
 * Whether the store surely never took the request up: no connection was chosen for it, the server refused the stream, or
 * it turned the call away before looking at it. Anything else may have been applied.
 */
export declare function isUnsent(error: unknown): boolean;
/** Whether the login has expired; nothing was applied, and a new login mends it. */
export declare function isStaleToken(error: unknown): boolean;
export declare function saysStaleToken(reason: string): boolean;
export declare function isTimeUp(error: unknown): boolean;
/** Whether TLS failed because one side does not trust the other; only a person can mend that. */
export declare function isUntrusted(error: unknown): boolean;
/** Whether another attempt, here or elsewhere, may end better. */
export declare function isPassing(error: unknown): boolean;
/** As gRPC would say it, when our own patience with a connection ends first. */
export declare function noConnection(url: string, afterMs: number): GrpcFailure;
/**
 * The error to reject with. Total: what is not understood counts as unanswered, which for a write that may have been
 * taken up is an unknown outcome.
 */
export declare function failureOf(
  error: unknown,
  call: {
    readonly method: string;
    readonly effect: Effect;
  },
  maybeApplied: boolean,
): Error;
//# sourceMappingURL=outcome.d.ts.map
