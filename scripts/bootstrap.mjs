// Makes any script work as the only command after `git clone`: plain Node, nothing installed, no pnpm needed.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));
const windows = process.platform === "win32";

/** Installs the dependencies if they are not there or not those of the lockfile. Ends the process if it cannot. */
export function install() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    stop(`Conclave needs Node.js 20.19 or newer; this is ${process.version}.`);
  }
  // pnpm keeps a copy of the lockfile that it installed by.
  if (textOf("node_modules/.pnpm/lock.yaml") === textOf("pnpm-lock.yaml") && existsSync(`${root}node_modules/.bin`))
    return;
  const { packageManager } = JSON.parse(String(textOf("package.json")));
  console.log("Installing dependencies …");
  const { status, stdout, stderr, error } = spawnSync(
    "npx",
    // Named as an option, so that an npx around this one has no say in it.
    ["--yes", `--package=${packageManager}`, "--", "pnpm", "install", "--frozen-lockfile"],
    // CI=true: pnpm asks nothing.
    { cwd: root, encoding: "utf8", env: { ...process.env, CI: "true" }, shell: windows },
  );
  if (status !== 0)
    stop(`${stdout ?? ""}${stderr ?? ""}Could not install the dependencies${error ? `: ${error}` : "."}`);
}

/**
 * Runs an installed tool, or npm itself, in the repository's root and gives its exit code.
 * @param {string} tool
 * @param {readonly string[]} args
 * @param {{ env?: Record<string, string>, quiet?: boolean }} [options]  quiet: show what it printed only if it fails
 * @returns {Promise<number>}
 */
export function run(tool, args, { env = {}, quiet = false } = {}) {
  const command = tool === "npm" ? "npm" : `${root}node_modules/.bin/${tool}`;
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["inherit", quiet ? "pipe" : "inherit", quiet ? "pipe" : "inherit"],
    shell: windows,
  });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text) => {
      printed += text;
    });
  }
  // A Ctrl-C reaches the child by itself, other signals do not: in either case it ends first.
  const wait = () => {};
  const pass = () => child.kill("SIGTERM");
  process.on("SIGINT", wait).on("SIGTERM", pass);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      process.off("SIGINT", wait).off("SIGTERM", pass);
      if (code !== 0) process.stdout.write(printed);
      resolve(code ?? 128 + constants.signals[signal ?? "SIGTERM"]);
    });
  });
}

/** @param {string} path */
function textOf(path) {
  return existsSync(root + path) ? readFileSync(root + path, "utf8") : undefined;
}

/**
 * @param {string} message
 * @returns {never}
 */
function stop(message) {
  console.error(message);
  process.exit(1);
}
