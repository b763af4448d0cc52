import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { Mutant } from "../../packages/conformance/mutants/mutant.ts";

/** A run of the tests in whose names one of `names` stands, on the code as it is or with a mutant in it. */
export interface Trial {
  readonly names: readonly string[];
  readonly mutant?: Pick<Mutant, "file" | "find" | "replace"> | undefined;
}

/** What the tests said. */
export interface Outcome {
  readonly passed: readonly string[];
  readonly failed: readonly { readonly name: string; readonly why: string }[];
  /** What went wrong outside of tests: a file did not load, a promise was left to reject. */
  readonly errors: readonly string[];
  /** Some tests had not ended. */
  readonly hangs?: boolean;
  readonly timedOut?: boolean;
}

/** Another process that keeps vitest warm for one trial after the other. A trial that hangs is killed with it. */
export class TrialProcess implements Disposable {
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;

  /** `config` is the vitest configuration, from the root. The process starts with the first trial. */
  constructor(root: string, config: string) {
    this.#args = [root, config];
  }

  async run(trial: Trial, timeoutMs: number): Promise<Outcome> {
    this.#child ??= fork(new URL("./trials.ts", import.meta.url), this.#args, {
      // A broken recipe may reject what nobody awaits yet; that is no news here.
      execArgv: ["--no-warnings", "--import", "tsx"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#child.send(trial);
    const outcome = await Promise.race([this.#answer(this.#child), expiry(timeoutMs)]);
    if (outcome.hangs || outcome.timedOut || !this.#child.connected) this[Symbol.dispose]();
    return outcome;
  }

  async #answer(child: ChildProcess): Promise<Outcome> {
    const over = new AbortController();
    const answered = once(child, "message", { signal: over.signal }).then(([outcome]) => outcome as Outcome);
    const ended = once(child, "exit", { signal: over.signal }).then(() => failing("the process of the tests ended"));
    try {
      return await Promise.race([answered, ended]);
    } finally {
      over.abort();
      await Promise.allSettled([answered, ended]);
    }
  }

  [Symbol.dispose](): void {
    this.#child?.kill("SIGKILL");
    this.#child = undefined;
  }
}

function failing(error: string): Outcome {
  return { passed: [], failed: [], errors: [error] };
}

function expiry(ms: number): Promise<Outcome> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms, { ...failing("timed out"), timedOut: true }).unref();
  });
}
