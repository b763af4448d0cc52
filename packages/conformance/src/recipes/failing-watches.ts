import type { Interceptor } from "../intercepted.ts";

/** A store whose watches are opened, and then fail before they have told anything. */
export function watchesFailing(failure: Error): Interceptor {
  return {
    call: (_, send) => send(),
    watch: (watch) => ({
      // biome-ignore lint/correctness/useYield: it fails before it has anything to tell
      async *[Symbol.asyncIterator]() {
        throw failure;
      },
      [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose](),
    }),
  };
}
