import type { Mutant } from "./mutant.ts";

const mutex = "packages/core/src/recipes/locks/mutex.ts";
const cohort = "packages/core/src/recipes/locks/cohort.ts";
const line = "packages/core/src/line.ts";
const place = "packages/core/src/place.ts";
const hold = "packages/core/src/hold.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "a waiter does not see that its own place is gone",
    file: place,
    find: "createdOf(keys, entries, created);",
    replace: "",
    killedBy: "a mutex, waited for rejects a waiter whose place",
  },
  {
    breaks: "a waiter waits for the first in line, as everybody does",
    file: line,
    find: "const reads = this.#lanes.map((lane) => ({ ...this.#older(lane), createdBefore: place.created }));",
    replace:
      'const reads = this.#lanes.map((lane) => ({ ...this.#older(lane), createdBefore: place.created, order: "oldest" as const }));',
    killedBy: "a mutex, in round trips wakes",
  },
  {
    breaks: "whoever is newest in line is looked at, not who is just ahead",
    file: line,
    find: ", createdBefore: place.created }",
    replace: " }",
    killedBy: "a mutex, granted",
  },
  {
    breaks: "a release deletes whatever has the key's name",
    file: "packages/core/src/session.ts",
    find: "const conditions = doomed.map((key) => ({ key, created }));",
    replace: "const conditions = doomed.map((key) => ({ key, exists: true }));",
    killedBy: "a mutex, lost",
  },
  {
    breaks: "who waits in line ignores the death of its own session",
    file: place,
    find: "return await abortable(attempt(session, keys, linked.signal), session.signal);",
    replace: "return await attempt(session, keys, signal ?? new AbortController().signal);",
    killedBy: "a mutex, waited for rejects a waiter whose own session is lost",
  },
  {
    breaks: "what is given up leaves its key in line",
    file: place,
    find: "if (session.isAlive()) void session.discard(keys);",
    replace: "",
    killedBy: "a mutex, waited for",
  },
  {
    breaks: "a transaction is guarded by the key's name, not by its incarnation",
    file: hold,
    find: ": keys.map((key) => ({ key, created }));",
    replace: ": keys.map((key) => ({ key, exists: true }));",
    killedBy: "a mutex, lost guards by",
  },
  {
    breaks: "what is guarded after its release is applied while another caller has the key",
    file: hold,
    find: "const held = this.#releasing ? never(this.key) : ",
    replace: "const held = ",
    killedBy: "a mutex, among callers of one process refuses what a caller guards",
  },
  {
    breaks: "a key is handed on although a late transaction of the earlier caller may be under way",
    file: cohort,
    find: "if (guarded || handovers",
    replace: "if (handovers",
    killedBy: "a mutex, among callers of one process has the store refuse",
  },
  {
    breaks: "callers of one process hand the lock on for ever",
    file: cohort,
    find: "|| handovers >= limits.handovers",
    replace: "",
    killedBy: "a mutex, among callers of one process lets another process in after",
  },
  {
    breaks: "a process keeps the lock for as long as its callers want it",
    file: cohort,
    find: "elapsedMs(this.#context.backend.clock, since) < limits.holdMs",
    replace: "elapsedMs(this.#context.backend.clock, since) >= 0",
    killedBy: "a mutex, among callers of one process lets another process in when it has had the key",
  },
  {
    breaks: "the token does not grow when the key is handed on",
    file: cohort,
    find: "handovers: grant.handovers + 1",
    replace: "handovers: grant.handovers",
    killedBy: "a mutex, among callers of one process hands it on in the order",
  },
  {
    breaks: "the last caller who comes is the first who is served",
    file: cohort,
    find: "for (const waiter of this.#waiting) {",
    replace: "for (const waiter of [...this.#waiting].reverse()) {",
    killedBy: "a mutex, among callers of one process hands it on in the order",
  },
  {
    breaks: "callers who queue are not told that the session is lost, and are given a new one",
    file: cohort,
    find: "if (!session.isAlive()) this.#refuseAll(session.signal.reason);",
    replace: "",
    killedBy: "a mutex, among callers of one process refuses all who wait when the session is lost",
  },
  {
    breaks: "the loss of the key leaves the callers who queue where they are",
    file: "packages/core/src/recipes/locks/local-hold.ts",
    find: "    this.grant.giver.lost(this.grant);",
    replace: "",
    killedBy: "a mutex, among callers of one process never hands on what was lost",
  },
  {
    breaks: "the place is given up with the caller who began to take it",
    file: cohort,
    find: "        refuse(wish.signal?.reason);\n",
    replace: "        refuse(wish.signal?.reason);\n        this.#taking?.abort(wish.signal?.reason);\n",
    killedBy: "a mutex, among callers of one process keeps the place",
  },
  {
    breaks: "a place nobody wants any more is waited for all the same",
    file: cohort,
    find: 'this.#taking?.abort(new CoordinationError("CLOSED", "nobody waits for this place any more"));',
    replace: "",
    killedBy: "a mutex",
  },
  {
    breaks: "the old key stays in line when the next is taken",
    file: place,
    find: "const deletes = old.map((key) => ({ delete: key }));",
    replace: "const deletes = old.map((key) => ({ get: key }));",
    killedBy: "a mutex, among callers of one process gives its place back",
  },
  {
    breaks: "with the first of several holds the lock is released",
    file: cohort,
    find: "if (grant.holds.size > 0) return this.lost(grant);",
    replace: "",
    killedBy: "a mutex gives one more hold",
  },
  {
    breaks: "who lost the lock may enter it again",
    file: cohort,
    find: "if (!held.isHeld())\n",
    replace: "if (held.token < 0n)\n",
    killedBy: "a mutex gives no more holds",
  },
  {
    breaks: "a run keeps the lock when its work throws",
    file: mutex,
    find: "await using hold = await this.#acquire(options, options.signal);\n    return await work(hold);",
    replace:
      "const hold = await this.#acquire(options, options.signal);\n    const result = await work(hold);\n    await hold.release();\n    return result;",
    killedBy: "a mutex releases after work that throws",
  },
];
