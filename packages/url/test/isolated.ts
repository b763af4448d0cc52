import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const packages = fileURLToPath(new URL("../../", import.meta.url));

/**
 * Connects to a URL in a process of its own, from a copy of this package that sees core and no adapter but those given, as
 * the text of a module each. Says whether a connector was made, and how connecting failed.
 */
export async function isolated(
  url: string,
  installed: Readonly<Record<string, string>> = {},
): Promise<{ readonly made: boolean; readonly message: string }> {
  const folder = mkdtempSync(join(tmpdir(), "conclave-url-"));
  try {
    cpSync(join(packages, "url/src"), join(folder, "src"), { recursive: true });
    for (const [name, text] of Object.entries(installed)) {
      const target = join(folder, "node_modules", name);
      mkdirSync(target, { recursive: true });
      writeFileSync(join(target, "package.json"), JSON.stringify({ name, type: "module", exports: "./index.js" }));
      writeFileSync(join(target, "index.js"), text);
    }
    const paths = {
      "@conclave/core": [join(packages, "core/src/index.ts")],
      "@conclave/core/backend": [join(packages, "core/src/backend.ts")],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: { paths } }));
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    writeFileSync(
      join(folder, "main.ts"),
      `import { fromUrl } from "./src/index.ts";
       const store = fromUrl(process.argv[2] as string);
       const failure = await store.connect().then(() => "connected", (error) => error.message);
       console.log(JSON.stringify({ made: true, message: failure }));`,
    );
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--import", import.meta.resolve("tsx"), "main.ts", url],
      { cwd: folder },
    );
    return JSON.parse(stdout);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
