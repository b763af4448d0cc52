/**
 * What a call does to the store: a read may be repeated; a repeatable write names its own identity, so that doing it
 * twice is doing it once; any other write must not be sent again once it may have been applied.
 */
export type Effect = "read" | "repeatable" | "write";

/** The error to reject with. */
export function failureOf(
  error: unknown,
  _call: { readonly name: string; readonly effect: Effect },
  _maybeApplied: boolean,
): Error {
  return error instanceof Error ? error : new Error(String(error));
}
