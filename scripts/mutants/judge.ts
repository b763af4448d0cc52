import { flawOf, type NamedMutant } from "./load.ts";
import { type Outcome, TrialProcess } from "./trial-process.ts";

/** What became of a mutant. Only one that a test noticed is killed; one that hangs the tests is killed by their timeout. */
interface Verdict {
  readonly killed: boolean;
  readonly words: string;
}

export interface Judging {
  readonly root: string;
  /** The vitest configuration that says which test files to run, from the root. */
  readonly config: string;
  readonly workers: number;
  readonly print: (line: string) => void;
  /** How long the tests of one mutant may take, in milliseconds. */
  readonly timeoutMs?: number | undefined;
}

/** Tries the tests of every mutant on the code as it is, where they must pass, and then on the mutant, where one must not. */
export async function judge(
  mutants: readonly NamedMutant[],
  { root, config, workers, print, timeoutMs = 60_000 }: Judging,
): Promise<{ readonly killed: number }> {
  const processes = Array.from({ length: workers }, () => new TrialProcess(root, config));
  const [first] = processes as [TrialProcess];
  let killed = 0;
  const tell = ({ name }: NamedMutant, verdict: Verdict, sinceMs: number) => {
    if (verdict.killed) killed += 1;
    const ms = `${Math.round(performance.now() - sinceMs)} ms`;
    print(`${verdict.killed ? "✓" : "✗"} ${ms.padStart(8)}  ${name}: ${verdict.words}`);
  };
  try {
    const names = [...new Set(mutants.map(({ killedBy }) => killedBy))];
    const unbroken = await first.run({ names }, 20 * timeoutMs);
    const left = mutants.values();
    const judgeOn = async (process: TrialProcess) => {
      for (const mutant of left) {
        const startMs = performance.now();
        const flaw = flawOf(mutant, root) ?? flawOfTests(mutant, unbroken);
        const verdict =
          flaw === undefined
            ? verdictOn(await process.run({ names: [mutant.killedBy], mutant }, timeoutMs), timeoutMs)
            : { killed: false, words: `error: ${flaw}` };
        tell(mutant, verdict, startMs);
      }
    };
    await Promise.all(processes.map(judgeOn));
  } finally {
    for (const process of processes) process[Symbol.dispose]();
  }
  return { killed };
}

/** Why the tests that are to notice a mutant cannot, if they cannot: there are none, or they fail anyhow. */
function flawOfTests({ killedBy }: NamedMutant, unbroken: Outcome): string | undefined {
  const failed = unbroken.failed.find(({ name }) => name.includes(killedBy));
  if (failed) return `without the mutant, "${failed.name}" fails: ${failed.why}`;
  const [error] = unbroken.errors;
  if (error !== undefined) return `without the mutant: ${error}`;
  if (!unbroken.passed.some((name) => name.includes(killedBy))) return `no test is called "${killedBy}"`;
  return undefined;
}

function verdictOn({ passed, failed, errors, timedOut }: Outcome, timeoutMs: number): Verdict {
  const [failure] = failed;
  if (failure) return { killed: true, words: `killed by "${failure.name}"` };
  if (timedOut) return { killed: true, words: `killed by the timeout of ${timeoutMs} ms` };
  const [error] = errors;
  if (error !== undefined) return { killed: false, words: `error, and no test failed: ${error}` };
  if (passed.length === 0) return { killed: false, words: "error: no test ran" };
  return { killed: false, words: `SURVIVED ${passed.length} tests` };
}
