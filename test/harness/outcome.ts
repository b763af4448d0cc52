/** The code of the error that a promise rejects with, or what it gave. */
export async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    return { resolved: await promise };
  } catch (error) {
    return (error as { code?: unknown }).code ?? error;
  }
}

export async function timed<T>(promise: PromiseLike<T>): Promise<{ readonly value: T; readonly tookMs: number }> {
  const start = performance.now();
  const value = await promise;
  return { value, tookMs: performance.now() - start };
}
