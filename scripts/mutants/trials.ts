// The process behind a TrialProcess: node trials.ts <root> <vitest configuration>. It changes no file.
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { createVitest, type TestCase, type TestModule } from "vitest/node";
import type { Outcome, Trial } from "./trial-process.ts";

/** How long the other tests have to end when one of a mutant's has failed. */
const graceMs = 300;

const [root, config] = process.argv.slice(2) as [string, string];
let mutant: Trial["mutant"];
let seen: TestCase[] = [];
let tellFailure = () => {};

const vitest = await createVitest(
  "test",
  {
    root,
    config: join(root, config),
    watch: false,
    onConsoleLog: () => false,
    reporters: [
      {
        onTestCaseResult(test) {
          seen.push(test);
          if (test.result().state === "failed") tellFailure();
        },
      },
    ],
  },
  {
    plugins: [
      {
        name: "mutant",
        enforce: "pre",
        transform: (code, id) =>
          mutant && id === join(root, mutant.file) ? code.replace(mutant.find, () => mutant?.replace ?? "") : undefined,
      },
    ],
  },
);
const tests = await vitest.globTestSpecifications();

process.on("disconnect", () => process.exit());
process.on("message", async (trial: Trial) => {
  seen = [];
  const failed = new Promise<void>((resolve) => {
    tellFailure = resolve;
  });
  const errors = run(trial);
  // One failure tells enough of a mutant: what still hangs is not waited for.
  const hangs = trial.mutant && failed.then(() => setTimeout(graceMs)).then(() => undefined);
  const over = await Promise.race(hangs ? [errors, hangs] : [errors]);
  const outcome: Outcome = {
    passed: seen.filter((test) => test.result().state === "passed").map(nameOf),
    failed: seen
      .filter((test) => test.result().state === "failed")
      .map((test) => ({ name: nameOf(test), why: why(test) })),
    errors: over ?? [],
    hangs: over === undefined,
  };
  process.send?.(outcome);
});

/** Runs the tests, and gives what went wrong outside of them. */
async function run(trial: Trial): Promise<readonly string[]> {
  mutant = trial.mutant;
  if (mutant) vitest.invalidateFile(join(root, mutant.file));
  vitest.setGlobalTestNamePattern(new RegExp(trial.names.map(literally).join("|")));
  const { testModules, unhandledErrors } = await vitest.runTestSpecifications(tests);
  if (mutant) vitest.invalidateFile(join(root, mutant.file));
  return [...testModules.flatMap(errorsOf), ...(unhandledErrors as Error[]).map(firstLine)];
}

/** As the pattern sees it. */
function nameOf(test: TestCase): string {
  return test.fullName.replaceAll(" > ", " ");
}

function why(test: TestCase): string {
  const [error] = test.result().errors ?? [];
  return error ? firstLine(error) : "for no reason given";
}

function errorsOf(module: TestModule): readonly string[] {
  const suites = [...module.children.allSuites()];
  return [...module.errors(), ...suites.flatMap((suite) => suite.errors())].map(firstLine);
}

function firstLine({ message }: { readonly message: string }): string {
  return message.split("\n", 1)[0] as string;
}

function literally(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
