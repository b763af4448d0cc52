import { checkMs, outOfRange, wrongType } from "@conclave/core/backend";
import { type Parameter, type Scheme, schemes } from "./schemes.ts";

/** What a URL says, checked as far as can be without asking a server. */
export interface StoreUrl {
  readonly scheme: Scheme;
  /** Empty for memory. */
  readonly servers: readonly Server[];
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** What stands behind the servers, decoded and without the first slash: a database, a primary's name, a root, a name. */
  readonly path: string;
  readonly callTimeoutMs: number | undefined;
  readonly connectTimeoutMs: number | undefined;
  readonly space: string | undefined;
}

/** One server; an IPv6 address stands in its brackets. */
export interface Server {
  readonly host: string;
  readonly port: number;
}

/**
 * Reads a store's URL. Throws `TypeError` for what is no string, and `RangeError` for what is no such URL. Messages say
 * which part is wrong and what is allowed, and never show a user, a password, or what may be one.
 */
export function parse(url: string): StoreUrl {
  if (typeof url !== "string") throw wrongType("url", url, "a string like etcd://127.0.0.1:2379");
  if (!url.isWellFormed() || /[\s\p{Cc}]/u.test(url)) throw new RangeError("url must have no white space in it");
  const [, schemeName = "", rest = ""] = /^([a-z][a-z0-9+.-]*):(.*)$/i.exec(url) ?? [];
  const scheme = Object.hasOwn(schemes, schemeName.toLowerCase()) ? schemes[schemeName.toLowerCase()] : undefined;
  if (scheme === undefined) throw unknownScheme(rest.startsWith("//") ? schemeName : undefined);
  const [, slashes = "", authority = "", path = "", query = "", fragment = ""] =
    (scheme.port === undefined
      ? /^()()([^?#]*)(?:\?([^#]*))?(#.*)?$/
      : /^(\/\/)([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?$/
    ).exec(rest) ?? [];
  const parts = authority.split("@");
  // Before anything is shown: whatever stands before an "@" may be a part of a password.
  if (parts.length > 2 || `${path}${query}${fragment}`.includes("@")) {
    throw refuse(scheme, `"@", "/", "?" and "#" in a user or password must be percent-encoded, "@" elsewhere too`);
  }
  if (fragment !== "") throw refuse(scheme, `it has no part behind a "#"`);
  if (scheme.port !== undefined && slashes === "") throw refuse(scheme, "two slashes come before the servers");
  const [servers = "", credentials] = parts.reverse();
  const fitting = decoded(scheme, "its path", path);
  if (!scheme.path.fits.test(fitting)) throw outOfRange(`the path of ${scheme.form}`, fitting, scheme.path.allowed);
  return {
    scheme,
    servers: serversOf(scheme, servers, credentials !== undefined),
    ...credentialsOf(scheme, credentials),
    path: fitting.replace(/^\//, ""),
    ...parametersOf(scheme, query),
  };
}

function unknownScheme(given: string | undefined): RangeError {
  const known = Object.entries(schemes).map(([name, { port }]) => `${name}:${port === undefined ? "" : "//"}`);
  const not = given === undefined ? "" : `, not with ${given}://`;
  return new RangeError(`url must begin with ${known.slice(0, -1).join(", ")} or ${known.at(-1)}${not}`);
}

function refuse({ form }: Scheme, why: string): RangeError {
  return new RangeError(`url must be like ${form}: ${why}`);
}

function serversOf(scheme: Scheme, text: string, hasCredentials: boolean): readonly Server[] {
  if (scheme.port === undefined) return [];
  const given = text.split(",");
  if (given.length > 1 && !scheme.several) throw refuse(scheme, "it names one server");
  return given.map((server) => {
    const [, host = "", digits = String(scheme.port)] = /^([\w.-]+|\[[\da-f:.]+\])(?::(\d{1,5}))?$/i.exec(server) ?? [];
    const port = Number(digits);
    if (port >= 1 && host !== "" && URL.canParse(`http://${host}:${port}`)) return { host, port };
    // Who forgot "@host" has a user and a password here.
    const shown = hasCredentials || !server.includes(":") ? `, not ${JSON.stringify(server)}` : "";
    throw refuse(scheme, `a server is host or host:port, with a port from 1 to 65535${shown}`);
  });
}

function credentialsOf(scheme: Scheme, text: string | undefined): Pick<StoreUrl, "username" | "password"> {
  if (text === undefined) return { username: undefined, password: undefined };
  if (scheme.credentials === "none") throw refuse(scheme, "it takes no user and password");
  const colon = text.indexOf(":");
  const username = decoded(scheme, "its user", colon < 0 ? text : text.slice(0, colon));
  const password = colon < 0 ? "" : decoded(scheme, "its password", text.slice(colon + 1));
  if (password === "") throw refuse(scheme, "its user has no password");
  if (username === "" && scheme.credentials === "both") throw refuse(scheme, "its password has no user");
  if (username.includes(":")) throw refuse(scheme, `its user has a ":" in it`);
  return { username: username || undefined, password };
}

function parametersOf(scheme: Scheme, query: string): Pick<StoreUrl, Parameter> {
  const given = new Map<string, string>();
  for (const pair of query.split("&").filter((pair) => pair !== "")) {
    const [, encoded = "", value = ""] = /^([^=]*)=?(.*)$/.exec(pair) ?? [];
    const name = decoded(scheme, "its parameters", encoded);
    if (!scheme.parameters.some((allowed) => allowed === name)) {
      throw outOfRange(`a parameter of ${scheme.form}`, name, scheme.parameters.join(", ") || "left out: it has none");
    }
    if (given.has(name)) throw refuse(scheme, `${name} is given twice`);
    given.set(name, decoded(scheme, name, value));
  }
  const space = given.get("space");
  // Braces would end the hash tag that the space is.
  if (space !== undefined && (!/^[^{}]+$/.test(space) || Buffer.byteLength(space) > 100)) {
    throw outOfRange("space in url", space, "a name without braces, of at most 100 bytes of UTF-8");
  }
  return {
    callTimeoutMs: milliseconds("callTimeoutMs", given),
    connectTimeoutMs: milliseconds("connectTimeoutMs", given),
    space,
  };
}

function milliseconds(name: Parameter, given: ReadonlyMap<string, string>): number | undefined {
  const text = given.get(name);
  if (text === undefined) return undefined;
  if (!/^\d+(\.\d+)?$/.test(text)) throw outOfRange(`${name} in url`, text, "a number of milliseconds");
  checkMs(`${name} in url`, Number(text));
  return Number(text);
}

function decoded(scheme: Scheme, part: string, text: string): string {
  let plain: string;
  try {
    plain = decodeURIComponent(text);
  } catch {
    throw refuse(scheme, `${part} has a "%" that is no escape; a "%" itself is %25`);
  }
  if (plain.includes("\0")) throw refuse(scheme, `${part} has a NUL in it`);
  return plain;
}
