/**
 * The part of a source between `// #region name` and its `// #endregion`, without the markers of regions within it,
 * without blank lines around it, and moved to the left margin.
 */
export function regionOf(source: string, name: string): string {
  const lines: string[] = [];
  let depth = 0;
  let found = false;
  for (const line of source.split("\n")) {
    const [, opens] = /^\s*\/\/ #region (\S+)/.exec(line) ?? [];
    const closes = /^\s*\/\/ #endregion/.test(line);
    if (depth === 0) {
      if (opens !== name) continue;
      if (found) throw new Error(`there are two regions "${name}"`);
      found = true;
    }
    if (opens !== undefined) depth++;
    else if (closes) depth--;
    else lines.push(line);
  }
  if (!found) throw new Error(`there is no region "${name}"`);
  if (depth > 0) throw new Error(`the region "${name}" does not end`);
  return dedent(lines).join("\n").trim();
}

/** A block of TypeScript in a page, and the region that the comment above it names. */
export interface Block {
  readonly line: number;
  readonly code: string;
  readonly file: string | undefined;
  readonly region: string | undefined;
}

/** Every block of TypeScript or JavaScript of a page. */
export function blocksOf(page: string): Block[] {
  return [
    ...page.matchAll(
      /(?:<!-- *(\S+?)#(\S+) *-->\s*\n)?^([ \t]*)```(?:ts|typescript|js|javascript)\b[^\n]*\n([\s\S]*?)^[ \t]*```/gm,
    ),
  ].map(({ 0: whole, 1: file, 2: region, 4: code = "", index }) => ({
    line: page.slice(0, index + whole.indexOf("```")).split("\n").length,
    code: dedent(code.split("\n")).join("\n").trim(),
    file,
    region,
  }));
}

function dedent(lines: readonly string[]): string[] {
  const margins = lines.filter((line) => line.trim() !== "").map((line) => line.search(/\S/));
  return lines.map((line) => line.slice(Math.min(...margins)));
}
