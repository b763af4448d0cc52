// Reads where this machine's apt gets its packages, from both formats: deb822 (*.sources) and one line each (*.list).
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * @typedef {object} AptSource
 * @property {string} uri
 * @property {string[]} suites
 * @property {string[]} components
 * @property {string | undefined} signedBy   a key ring's path, or a whole key in deb822's indented form
 * @property {string | undefined} trusted
 */

/**
 * Every enabled source of binary packages.
 * @returns {AptSource[]}
 */
export function aptSources(folder = "/etc/apt") {
  const parts = join(folder, "sources.list.d");
  const files = [
    join(folder, "sources.list"),
    ...(existsSync(parts) ? readdirSync(parts).sort() : []).map((f) => join(parts, f)),
  ];
  return files.filter(existsSync).flatMap((file) => {
    if (file.endsWith(".sources")) return readDeb822(readFileSync(file, "utf8"));
    return file.endsWith(".list") ? readLines(readFileSync(file, "utf8")) : [];
  });
}

/**
 * @param {string} text
 * @returns {AptSource[]}
 */
export function readDeb822(text) {
  const withoutComments = text.replace(/^#.*\n?/gm, "");
  return withoutComments.split(/\n\s*\n/).flatMap((stanza) => {
    /** @type {Map<string, string>} */
    const fields = new Map();
    for (const [, name, value] of stanza.matchAll(/^([\w-]+):((?:.*)(?:\n[ \t].*)*)/gm)) {
      fields.set(String(name).toLowerCase(), String(value).trim());
    }
    const words = (/** @type {string} */ name) => (fields.get(name) ?? "").split(/\s+/).filter(Boolean);
    if (!words("types").includes("deb") || /^(no|false|0)$/i.test(fields.get("enabled") ?? "")) return [];
    return words("uris").map((uri) => ({
      uri,
      suites: words("suites"),
      components: words("components"),
      signedBy: fields.get("signed-by"),
      trusted: fields.get("trusted"),
    }));
  });
}

/**
 * @param {string} text
 * @returns {AptSource[]}
 */
export function readLines(text) {
  return [...text.matchAll(/^\s*deb\s+(?:\[([^\]]*)\]\s+)?([^\s#]+)[ \t]+([^\s#]+)([^#\n]*)/gm)].map((match) => {
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const option = (/** @type {string} */ name) => new RegExp(`(?:^|\\s)${name}=(\\S+)`, "i").exec(options)?.[1];
    return {
      uri,
      suites: [suite],
      components: components.split(/\s+/).filter(Boolean),
      signedBy: option("signed-by"),
      trusted: option("trusted"),
    };
  });
}

/**
 * The same place, but another suite of it, as the text of a *.sources file.
 * @param {AptSource} source
 * @param {string} suite
 */
export function asDeb822({ uri, signedBy, trusted }, suite) {
  const lines = ["Types: deb", `URIs: ${uri}`, `Suites: ${suite}`, "Components: main"];
  if (signedBy !== undefined) lines.push(`Signed-By: ${signedBy}`);
  if (trusted !== undefined) lines.push(`Trusted: ${trusted}`);
  return `${lines.join("\n")}\n`;
}
