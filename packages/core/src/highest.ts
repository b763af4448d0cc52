/** The first of those with the highest score; undefined when there is none. */
export function highest<T>(candidates: Iterable<T>, score: (candidate: T) => number): T | undefined {
  let best: T | undefined;
  let bestScore = Number.NEGATIVE_INFINITY;
  for (const candidate of candidates) {
    const own = score(candidate);
    if (own > bestScore) [best, bestScore] = [candidate, own];
  }
  return best;
}
