/** One deliberate break of one line, which the suite must notice. */
export interface Mutant {
  /** The promise it breaks, as the bug it is: "a release deletes by name alone". */
  readonly breaks: string;
  /** Where, from the root of the repository. */
  readonly file: string;
  /** What stands there; exactly once in the file. */
  readonly find: string;
  /** What stands there instead. */
  readonly replace: string;
  /** Part of the names of the tests that must notice, with the suite they are in: "a mutex, lost". */
  readonly killedBy: string;
}
