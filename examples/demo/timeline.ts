/** What happens, printed as it happens: when, who, what. Coloured on a terminal, unless `NO_COLOR` says otherwise. */
export class Timeline {
  readonly #startedAt = performance.now();
  readonly #colours = new Map<string, number>();
  readonly #coloured = process.stdout.isTTY === true && !process.env["NO_COLOR"];
  #scenes = 0;

  title(text: string): void {
    console.log(this.#paint(bold, text));
  }

  scene(title: string): void {
    this.#scenes += 1;
    this.#colours.clear();
    console.log(`\n${this.#paint(bold, `${this.#scenes}. ${title}`)}`);
  }

  /** One line of the story. */
  line(who: string, what: string): void {
    const colour = this.#colours.get(who) ?? voices[this.#colours.size % voices.length] ?? bold;
    this.#colours.set(who, colour);
    console.log(
      `${this.#paint(dim, `${this.#seconds.toFixed(3).padStart(8)} s`)}  ${this.#paint(colour, who.padEnd(9))} ${what}`,
    );
  }

  summary(claims: readonly string[]): void {
    console.log(`\n${this.#paint(bold, "Shown, and checked:")}`);
    for (const claim of claims) console.log(`  ${this.#paint(green, "✓")} ${claim}`);
    console.log(this.#paint(dim, `in ${this.#seconds.toFixed(1)} s`));
  }

  get #seconds(): number {
    return (performance.now() - this.#startedAt) / 1_000;
  }

  #paint(code: number, text: string): string {
    return this.#coloured ? `\x1b[${code}m${text}\x1b[0m` : text;
  }
}

const bold = 1;
const dim = 2;
const green = 32;
/** Cyan, yellow, magenta, green, blue. */
const voices = [36, 33, 35, 32, 34];
