import { type Layout, parentOf } from "./layout.ts";
import type { Link } from "./link.ts";
import type { Patience } from "./patience.ts";

/** So many are remembered; then all are forgotten, and looked for again. */
const mostRemembered = 10_000;

/**
 * Which directories are there, as far as this client knows. What it remembers only saves a look: where a directory has
 * gone, the multi that creates something in it is refused.
 */
export class Directories {
  readonly #link: Link;
  readonly #layout: Layout;
  readonly #known = new Set<string>();

  constructor(link: Link, layout: Layout) {
    this.#link = link;
    this.#layout = layout;
  }

  /** Whether the directory of an entry is thought to be there. */
  isKnown(entryPath: string): boolean {
    const directory = parentOf(entryPath);
    return directory === this.#layout.top || this.#known.has(directory);
  }

  /** Those above these entries that are not there, each after the one it is in. */
  async missingAbove(entryPaths: readonly string[], patience: Patience): Promise<readonly string[]> {
    const unknown = entryPaths.filter((path) => !this.isKnown(path));
    const above = [...new Set(unknown.flatMap((path) => this.#layout.directoriesAbove(path)))];
    const answers = await Promise.all(above.map((path) => this.#link.exists(path, undefined, patience)));
    this.remember(above.filter((_, index) => answers[index]?.stat !== undefined));
    return above.filter((_, index) => answers[index]?.stat === undefined).sort((a, b) => a.length - b.length);
  }

  remember(directories: readonly string[]): void {
    if (this.#known.size + directories.length > mostRemembered) this.#known.clear();
    for (const directory of directories) this.#known.add(directory);
  }

  forgetAbove(entryPaths: readonly string[]): void {
    for (const path of entryPaths)
      for (const directory of this.#layout.directoriesAbove(path)) this.#known.delete(directory);
  }
}
