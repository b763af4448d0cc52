import type { Mutant } from "./mutant.ts";

const file = "packages/core/src/recipes/barriers/barrier.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "a watch that fails lets those who wait through, as etcd's recipe does",
    file,
    find: "await waitUntil(backend, [{ key }], look, { signal });",
    replace: "await waitUntil(backend, [{ key }], look, { signal }).catch(() => {});",
    killedBy: "a barrier never takes a watch that fails for an opening",
  },
  {
    breaks: "who waited stays when the barrier was closed anew before it woke",
    file,
    find: 'now?.created === created ? undefined : "opened"',
    replace: 'now ? undefined : "opened"',
    killedBy: "a barrier lets through who waited when it opened",
  },
  {
    breaks: "a barrier that is closed is closed a second time, by a key of its own",
    file,
    find: "{ if: [{ prefix: this.#prefix, empty: true }], then:",
    replace: "{ if: [], then:",
    killedBy: "a barrier closes once however often it is asked to",
  },
  {
    breaks: "a store that does not answer is taken for an open barrier",
    file,
    find: "await patiently(backend.clock, signal, () => this.#closure({ signal }));",
    replace: "await this.#closure({ signal }).catch(() => undefined);",
    killedBy: "a barrier delays who waits while the store is away",
  },
  {
    breaks: "who waits asks the store again and again",
    file,
    find: "await waitUntil(backend, [{ key }], look, { signal });",
    replace: "await waitUntil(backend, [{ key }], look, { signal, recheckMs: 1 });",
    killedBy: "a barrier costs one list to pass while it is open",
  },
  {
    breaks: "an open barrier is not looked at before it is waited for",
    file,
    find: "if (!closure) return;\n    const { key, created } = closure;\n    const look",
    replace: "const { key, created } = closure ?? { key: '', created: 0n };\n    const look",
    killedBy: "a barrier costs one list to pass while it is open",
  },
];
