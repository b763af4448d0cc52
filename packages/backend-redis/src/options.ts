import { createSecureContext } from "node:tls";
import {
  type AdapterOptions,
  type AdapterSettings,
  checkAdapterOptions,
  checkMs,
  checkOptions,
  checkText,
  checkTls,
  checkUser,
  outOfRange,
  type TlsOptions,
  type TlsSettings,
  type User,
  wrongType,
} from "@conclave/core/backend";

/** A server that knows where the primary is: one of a cluster's, or a Sentinel. */
export interface RedisNode {
  readonly host: string;
  readonly port: number;
}

/** What a write waits for before it counts as done, beyond the primary's own memory. */
export interface RedisDurability {
  /**
   * Every write waits until so many replicas have it, by `WAIT`. With fewer after `timeoutMs` milliseconds it rejects with
   * `OUTCOME_UNKNOWN`: it is applied on the primary, and may be lost with it.
   */
  readonly wait: { readonly replicas: number; readonly timeoutMs: number };
}

/** How to reach Redis or Valkey: by `url` one server, by `nodes` a cluster, by `sentinels` and `name` whoever is primary. */
export interface RedisOptions extends AdapterOptions {
  /** `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS. */
  readonly url?: string | undefined;
  /** Some members of a Redis Cluster; the others are found through them. */
  readonly nodes?: readonly RedisNode[] | undefined;
  /** Sentinels, asked in turn for the primary called `name`. */
  readonly sentinels?: readonly RedisNode[] | undefined;
  /** The primary's name among the Sentinels. */
  readonly name?: string | undefined;
  /** The ACL user, "default" when absent; needs `password`. */
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** What the Sentinels themselves ask for, if they do; `sentinelUsername` is "default" when absent. */
  readonly sentinelUsername?: string | undefined;
  readonly sentinelPassword?: string | undefined;
  /** For `rediss://`; with `nodes` or `sentinels`, `{}` or more turns TLS on. */
  readonly tls?: TlsOptions | undefined;
  /** Whose keys these are, "conclave" when absent: clients of one space see each other's. It is the keys' hash tag. */
  readonly space?: string | undefined;
  /** What a write waits for; only the primary's own answer when absent. */
  readonly durability?: RedisDurability | undefined;
}

/** Where to look for the primary. */
export type Topology =
  | { readonly kind: "single"; readonly seeds: readonly RedisNode[] }
  | { readonly kind: "cluster"; readonly seeds: readonly RedisNode[] }
  | { readonly kind: "sentinel"; readonly seeds: readonly RedisNode[]; readonly name: string };

/** Options that passed every check, with their defaults filled in. */
export interface Settings extends AdapterSettings {
  readonly topology: Topology;
  readonly user: User | undefined;
  readonly sentinelUser: User | undefined;
  readonly db: number;
  readonly tls: TlsSettings | undefined;
  readonly space: string;
  readonly wait: RedisDurability["wait"] | undefined;
}

const optionNames = [
  "url",
  "nodes",
  "sentinels",
  "name",
  "username",
  "password",
  "sentinelUsername",
  "sentinelPassword",
  "tls",
  "space",
  "durability",
] satisfies (keyof RedisOptions)[];
const mostSpaceBytes = 100;

/** Checks what a caller gave to `redis`; throws `TypeError` or `RangeError` naming the option. No secret is ever shown. */
export function settingsFrom(options: RedisOptions): Settings {
  const shared = checkAdapterOptions("redis", options, optionNames);
  const { space = "conclave" } = options;
  checkSpace(space);
  const { topology, url } = checkTopology(options);
  if (url?.password !== undefined && (options.username !== undefined || options.password !== undefined)) {
    throw new TypeError("username and password must be given in url or beside it, not both");
  }
  const { sentinelUsername, sentinelPassword } = options;
  if ((sentinelUsername !== undefined || sentinelPassword !== undefined) && topology.kind !== "sentinel") {
    throw new TypeError("sentinelUsername and sentinelPassword need sentinels");
  }
  if (options.tls !== undefined && url !== undefined && !url.secure) {
    throw new TypeError("tls needs a url that starts with rediss://");
  }
  const { username, password } = url?.password === undefined ? options : url;
  return {
    ...shared,
    topology,
    user: checkUser(["username", named(username, password)], ["password", password]),
    sentinelUser: checkUser(
      ["sentinelUsername", named(sentinelUsername, sentinelPassword)],
      ["sentinelPassword", sentinelPassword],
    ),
    db: url?.db ?? 0,
    tls: url?.secure || options.tls !== undefined ? checkTls(options.tls ?? {}, createSecureContext) : undefined,
    space,
    wait: checkDurability(options.durability),
  };
}

/** With a name, a server that has no password set takes any, as it should; without one it would complain. */
function named(username: unknown, password: unknown): unknown {
  return password === undefined ? username : (username ?? "default");
}

interface ParsedUrl {
  readonly node: RedisNode;
  readonly secure: boolean;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly db: number;
}

function checkTopology(options: RedisOptions): { topology: Topology; url?: ParsedUrl } {
  const { url, nodes, sentinels, name } = options;
  if ([url, nodes, sentinels].filter((given) => given !== undefined).length !== 1) {
    throw new TypeError("redis must be given one of url, nodes (of a cluster), or sentinels with a name");
  }
  if ((name === undefined) !== (sentinels === undefined)) {
    throw new TypeError("sentinels and name must be given together");
  }
  if (nodes !== undefined) return { topology: { kind: "cluster", seeds: checkNodes("nodes", nodes) } };
  if (sentinels !== undefined) {
    checkText("name", name);
    if (name === "") throw outOfRange("name", name, "the primary's name among the sentinels");
    return { topology: { kind: "sentinel", seeds: checkNodes("sentinels", sentinels), name } };
  }
  const parsed = parseUrl(url);
  return { topology: { kind: "single", seeds: [parsed.node] }, url: parsed };
}

function checkNodes(argument: string, nodes: unknown): readonly RedisNode[] {
  if (!Array.isArray(nodes)) throw wrongType(argument, nodes, "an array of { host, port }");
  if (nodes.length === 0) throw new RangeError(`${argument} must name at least one server`);
  return nodes.map((node: unknown, index) => {
    const which = `${argument}[${index}]`;
    if (typeof node !== "object" || node === null) throw wrongType(which, node, "an object { host, port }");
    checkOptions(which, node, ["host", "port"]);
    const { host, port } = node as Partial<RedisNode>;
    checkText(`${which}.host`, host);
    if (host === "" || /[\s/@]/.test(host)) throw outOfRange(`${which}.host`, host, "a host name or an IP address");
    if (typeof port !== "number") throw wrongType(`${which}.port`, port, "a number");
    if (!isPort(port)) throw outOfRange(`${which}.port`, port, "a whole number from 1 to 65535");
    return { host, port };
  });
}

function isPort(port: number): boolean {
  return Number.isSafeInteger(port) && port >= 1 && port <= 65_535;
}

/** What is wrong with a URL may be in its password, so no message shows it. */
function parseUrl(url: unknown): ParsedUrl {
  const allowed = "a URL like redis://127.0.0.1:6379 or rediss://user:password@redis.example:6379/0";
  if (typeof url !== "string") throw wrongType("url", url, allowed);
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const scheme = parsed?.protocol;
  if (parsed === undefined || (scheme !== "redis:" && scheme !== "rediss:"))
    throw new RangeError(`url must be ${allowed}`);
  const { hostname, port, pathname, search, hash } = parsed;
  const [, db = "0"] = /^\/?(?:(\d{1,5}))?$/.exec(pathname) ?? [undefined, undefined];
  if (hostname === "" || port === "0" || !/^\/?\d{0,5}$/.test(pathname) || search !== "" || hash !== "") {
    throw new RangeError(`url must be ${allowed}: a host, perhaps a port, user and database number, and nothing else`);
  }
  const decoded = (part: string): string | undefined => {
    try {
      return part === "" ? undefined : decodeURIComponent(part);
    } catch {
      throw new RangeError("the user and password of url must be percent-encoded");
    }
  };
  const [username, password] = [decoded(parsed.username), decoded(parsed.password)];
  if (username !== undefined && password === undefined) throw new RangeError("the user of url must have a password");
  return {
    node: { host: hostname.replace(/^\[|\]$/g, ""), port: port === "" ? 6379 : Number(port) },
    secure: scheme === "rediss:",
    username,
    password,
    db: Number(db),
  };
}

/** Braces would end the hash tag early, and the keys of one space would fall apart over a cluster. */
function checkSpace(space: unknown): asserts space is string {
  checkText("space", space);
  if (space === "" || /[{}]/.test(space)) throw outOfRange("space", space, "a name without braces");
  if (Buffer.byteLength(space) > mostSpaceBytes) {
    throw outOfRange("space", space, `at most ${mostSpaceBytes} bytes of UTF-8`);
  }
}

function checkDurability(durability: unknown): Settings["wait"] {
  if (durability === undefined) return undefined;
  if (typeof durability !== "object" || durability === null) throw wrongType("durability", durability, "an object");
  checkOptions("durability", durability, ["wait"]);
  const { wait } = durability as Partial<RedisDurability>;
  if (typeof wait !== "object" || wait === null) {
    throw wrongType("durability.wait", wait, "an object { replicas, timeoutMs }");
  }
  const { replicas, timeoutMs } = wait as Partial<RedisDurability["wait"]>;
  for (const name of Object.keys(wait)) {
    if (name !== "replicas" && name !== "timeoutMs") {
      throw new TypeError(`durability.wait has no option "${name}"; it takes replicas, timeoutMs`);
    }
  }
  if (typeof replicas !== "number") throw wrongType("durability.wait.replicas", replicas, "a number");
  if (!(Number.isSafeInteger(replicas) && replicas >= 1 && replicas <= 100)) {
    throw outOfRange("durability.wait.replicas", replicas, "a whole number from 1 to 100");
  }
  checkMs("durability.wait.timeoutMs", timeoutMs);
  return { replicas, timeoutMs: Math.ceil(timeoutMs) };
}
