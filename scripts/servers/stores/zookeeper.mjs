import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readlinkSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { isAtLeast, libraryFolders, onPath, writeLauncher } from "./programs.mjs";

/**
 * @typedef {object} ZooKeeperProgram
 * @property {string} version     "3.8.0"
 * @property {string} java        absolute path of `java`
 * @property {string} classPath   what to run `org.apache.zookeeper.server.quorum.QuorumPeerMain` from
 */

/** @type {import("../locate.mjs").Wanted} */
export const wantedZooKeeper = {
  store: "zookeeper",
  name: "ZooKeeper 3.6 or newer",
  packages: ["zookeeper"],
  dependencies: true,
  suites: ["release"],
  variable: "ZOOKEEPER_HOSTS",
  byHand: "set ZOOKEEPER_HOME and put `java` on PATH, or name a running one: ZOOKEEPER_HOSTS=host:2181 npm test",
  unpacked: keepJavaWhole,
  versionIn: (place) => programIn(place)?.version,
  placeOf: () => "zookeeper",
  fits: (version) => isAtLeast(version, [3, 6]),
};

/** What a server needs, of all that a distribution keeps in one folder. `slf4j-simple` has it log to standard error. */
const jars = [
  ...["zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "log4j-1.2", "metrics-core", "snappy-java"],
  ...["netty-all", "netty-handler", "netty-common", "netty-buffer", "netty-transport", "netty-codec", "netty-resolver"],
  ...["netty-transport-native-unix-common", "netty-transport-native-epoll", "commons-io", "commons-cli"],
];

/**
 * ZOOKEEPER_HOME's, the one that `zkServer` on PATH belongs to, the one that the system has installed, or the downloaded.
 * @param {string} folder
 * @returns {ZooKeeperProgram | undefined}
 */
export function locateZooKeeper(folder) {
  const homes = [process.env["ZOOKEEPER_HOME"], ...["zkServer", "zkServer.sh"].flatMap(homesOf)];
  for (const home of homes) {
    const found = home ? programOf([join(home, "lib"), home], javas()) : undefined;
    // Its configuration folder says how much it logs.
    if (home && found) return { ...found, classPath: [join(home, "conf"), found.classPath].join(delimiter) };
  }
  return programOf(["/usr/share/java"], javas()) ?? programIn(join(folder, "zookeeper"));
}

/** @param {string} place */
function programIn(place) {
  const downloaded = join(place, "bin", "java");
  return programOf([join(place, "root", "usr", "share", "java"), "/usr/share/java"], [...javas(), downloaded]);
}

/**
 * @param {string[]} folders   of jars; earlier ones win
 * @param {string[]} candidates   for `java`
 * @returns {ZooKeeperProgram | undefined}
 */
function programOf(folders, candidates) {
  const [first = ""] = folders;
  const files = existsSync(first) ? readdirSync(first) : [];
  const version = files.map((file) => /^zookeeper-(\d+\.\d+\.\d+)\.jar$/.exec(file)?.[1]).find(Boolean);
  const java = candidates.find((path) => existsSync(path) && spawnSync(path, ["-version"]).status === 0);
  if (version === undefined || java === undefined || !wantedZooKeeper.fits(version)) return undefined;
  // A distribution of its own keeps all that it needs in one folder, and its files bear their versions.
  const whole = !files.includes("zookeeper.jar");
  const named = folders.flatMap((folder) => jars.map((name) => join(folder, `${name}.jar`))).filter(existsSync);
  return { version, java, classPath: (whole ? folders.map((folder) => join(folder, "*")) : named).join(delimiter) };
}

function javas() {
  const home = process.env["JAVA_HOME"];
  return [...onPath("java"), ...(home ? [join(home, "bin", "java")] : [])];
}

/** @param {string} command */
function homesOf(command) {
  const homes = onPath(command).map((path) => dirname(dirname(realpathSync(path))));
  return homes.flatMap((home) => [home, join(home, "libexec")]); // the latter is where Homebrew keeps it
}

/**
 * A Java that came along is run from where it was unpacked: its links into /etc are turned to the /etc beside it.
 * @param {string} place
 */
function keepJavaWhole(place) {
  const root = join(place, "root");
  const machines = join(root, "usr", "lib", "jvm");
  if (!existsSync(machines)) return;
  for (const name of /** @type {string[]} */ (readdirSync(machines, { recursive: true }))) {
    const path = join(machines, name);
    if (!lstatSync(path).isSymbolicLink()) continue;
    const target = readlinkSync(path);
    if (!target.startsWith("/")) continue;
    const depth = path.slice(root.length).split("/").length - 2;
    rmSync(path);
    symlinkSync(`${"../".repeat(depth)}${target.slice(1)}`, path);
  }
  const java = readdirSync(machines).map((name) => join("usr", "lib", "jvm", name, "bin", "java"));
  const program = java.find((path) => existsSync(join(root, path)));
  if (program && libraryFolders(root).length > 0) writeLauncher(place, program);
}
