import { afterAll, beforeAll, describe } from "vitest";
import { Suite } from "./context.ts";
import type { Costs } from "./costs.ts";
import { describePorts } from "./ports/ports.ts";
import { wire } from "./ports/wire.ts";
import { describeRecipes } from "./recipes/recipes.ts";
import type { Subject } from "./subject.ts";

/** The runner's own deadline is out of the way: each test has one that follows from its subject's timing. */
const hangingMs = 3_600_000;

/**
 * The suite that every backend is held to, for vitest: one test for each sentence of the contract. It never clears the
 * store, and works under a prefix that no other run uses, so a store may be shared. Tests run several at a time, since
 * on real stores most of them wait for leases to end. `costs` says what calls cost on the wire; only a store in the same
 * process has none.
 *
 * ```ts
 * describeBackend("memory", async () => {
 *   const store = new MemoryStore();
 *   return {
 *     connect: async () => store.connect(),
 *     kill: async (backend) => (backend as MemoryBackend).disconnect(),
 *     timing: { ttlMs: 1_000, expiryLagMs: 0, watchDelayMs: 0 },
 *     [Symbol.asyncDispose]: async () => {},
 *   };
 * });
 * ```
 */
export function describeBackend(name: string, makeSubject: () => Promise<Subject>, options?: SuiteOptions): void {
  describeSubject(name, makeSubject, (suite) => {
    describeContract(suite, options);
    describeRecipes(suite);
  });
}

/**
 * The part of `describeBackend` that is about the store alone: the sentences of the port contract, and what calls cost.
 * Recipes stand on these and nothing else, so it is what to run again and again while writing a backend.
 */
export function describePortContract(name: string, makeSubject: () => Promise<Subject>, options?: SuiteOptions): void {
  describeSubject(name, makeSubject, (suite) => describeContract(suite, options));
}

interface SuiteOptions {
  readonly costs?: Costs;
}

function describeContract(suite: Suite, { costs }: SuiteOptions = {}): void {
  describePorts(suite);
  if (costs) describe("calls on the wire", () => wire(suite, costs));
}

function describeSubject(
  name: string,
  makeSubject: () => Promise<Subject>,
  describeSentences: (suite: Suite) => void,
): void {
  describe(name, { timeout: hangingMs, concurrent: true }, () => {
    let subject: Subject | undefined;
    const current = (): Subject => {
      if (!subject) throw new Error(`the subject of ${name} was not made`);
      return subject;
    };
    beforeAll(async () => {
      subject = await makeSubject();
    }, hangingMs);
    afterAll(async () => {
      await subject?.[Symbol.asyncDispose]();
    }, hangingMs);
    describeSentences(new Suite(current));
  });
}
