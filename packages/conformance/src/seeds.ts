/**
 * The seeds that a test under seeded chance runs through: as many as it asks for, or as the environment variable
 * `CONFORMANCE_SEEDS` says when that is more. Throws `RangeError` when that is no whole number.
 */
export function faultSeeds(atLeast: number): readonly number[] {
  const asked = Number(process.env["CONFORMANCE_SEEDS"] ?? 0);
  if (!Number.isSafeInteger(asked) || asked < 0) {
    throw new RangeError(
      `CONFORMANCE_SEEDS must be a whole number, not ${JSON.stringify(process.env["CONFORMANCE_SEEDS"])}`,
    );
  }
  return Array.from({ length: Math.max(atLeast, asked) }, (_, index) => index + 1);
}
