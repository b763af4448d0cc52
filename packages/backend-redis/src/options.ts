import { createSecureContext } from "node:tls";
import {
  type Clock,
  checkMs,
  checkOptions,
  checkText,
  outOfRange,
  systemClock,
  wrongType,
} from "@conclave/core/backend";

/** Whom to trust and who we are, each as PEM. */
export interface RedisTls {
  /** The authorities that may vouch for the server; the system's when absent. */
  readonly ca?: Buffer | string | undefined;
  /** Our own certificate and its key, for servers that ask clients for one. */
  readonly cert?: Buffer | string | undefined;
  readonly key?: Buffer | string | undefined;
  /** The name to expect in the server's certificate, when it is not the host that we connect to. */
  readonly serverName?: string | undefined;
}

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
export interface RedisOptions {
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
  readonly tls?: RedisTls | undefined;
  /** Whose keys these are, "conclave" when absent: clients of one space see each other's. It is the keys' hash tag. */
  readonly space?: string | undefined;
  /** Deadline of a call that sets none, in milliseconds; 5,000 when absent. */
  readonly callTimeoutMs?: number | undefined;
  /** Deadline of `connect` when it sets none, in milliseconds; 5,000 when absent. */
  readonly connectTimeoutMs?: number | undefined;
  /** What a write waits for; only the primary's own answer when absent. */
  readonly durability?: RedisDurability | undefined;
  /** The time this client lives by; the system's when absent. */
  readonly clock?: Clock | undefined;
}

/** Where to look for the primary. */
export type Topology =
  | { readonly kind: "single"; readonly seeds: readonly RedisNode[] }
  | { readonly kind: "cluster"; readonly seeds: readonly RedisNode[] }
  | { readonly kind: "sentinel"; readonly seeds: readonly RedisNode[]; readonly name: string };

/** Options that passed every check, with their defaults filled in. */
export interface Settings {
  readonly topology: Topology;
  readonly user: { readonly name: string; readonly password: string } | undefined;
  readonly sentinelUser: Settings["user"];
  readonly db: number;
  readonly tls: SecureSettings | undefined;
  readonly space: string;
  readonly wait: RedisDurability["wait"] | undefined;
  readonly callTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly clock: Clock;
}

export interface SecureSettings {
  readonly ca: Buffer | undefined;
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
  readonly serverName: string | undefined;
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
  "callTimeoutMs",
  "connectTimeoutMs",
  "durability",
  "clock",
] satisfies (keyof RedisOptions)[];
const tlsNames = ["ca", "cert", "key", "serverName"] satisfies (keyof RedisTls)[];
const mostSpaceBytes = 100;

/** Checks what a caller gave to `redis`; throws `TypeError` or `RangeError` naming the option. No secret is ever shown. */
export function settingsFrom(options: RedisOptions): Settings {
  if (typeof options !== "object" || options === null) throw wrongType("the options of redis", options, "an object");
  checkOptions("redis", options, optionNames);
  const { space = "conclave", callTimeoutMs = 5_000, connectTimeoutMs = 5_000, clock = systemClock } = options;
  checkSpace(space);
  checkMs("callTimeoutMs", callTimeoutMs);
  checkMs("connectTimeoutMs", connectTimeoutMs);
  if (typeof clock?.monotonicMs !== "function") throw wrongType("clock", clock, "a Clock");
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
  return {
    topology,
    user:
      url?.password === undefined
        ? checkUser("username", options.username, "password", options.password)
        : checkUser("username", url.username, "password", url.password),
    sentinelUser: checkUser("sentinelUsername", sentinelUsername, "sentinelPassword", sentinelPassword),
    db: url?.db ?? 0,
    tls: url?.secure || options.tls !== undefined ? checkTls(options.tls ?? {}) : undefined,
    space,
    wait: checkDurability(options.durability),
    callTimeoutMs,
    connectTimeoutMs,
    clock,
  };
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

function checkUser(nameOption: string, username: unknown, passwordOption: string, password: unknown): Settings["user"] {
  if (username === undefined && password === undefined) return undefined;
  if (username !== undefined) checkText(nameOption, username);
  if (username === "") throw outOfRange(nameOption, username, `the user that ${passwordOption} belongs to`);
  if (typeof password !== "string") {
    throw new TypeError(`${passwordOption} must be a string, and is needed with ${nameOption}`);
  }
  // With a name, a server that has no password set takes any, as it should; without one it would complain.
  return { name: username ?? "default", password };
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

function checkTls(tls: RedisTls): SecureSettings {
  if (typeof tls !== "object" || tls === null) throw wrongType("tls", tls, "an object");
  checkOptions("tls", tls, tlsNames);
  const pem = (name: "ca" | "cert" | "key"): Buffer | undefined => {
    const given: unknown = tls[name];
    if (given === undefined) return undefined;
    if (typeof given !== "string" && !(given instanceof Uint8Array)) {
      throw new TypeError(`tls.${name} must be PEM, as a string or a Buffer`);
    }
    return typeof given === "string" ? Buffer.from(given) : Buffer.from(given);
  };
  const [ca, cert, key] = [pem("ca"), pem("cert"), pem("key")];
  if ((cert === undefined) !== (key === undefined)) throw new TypeError("tls.cert and tls.key must be given together");
  if (tls.serverName !== undefined) checkText("tls.serverName", tls.serverName);
  try {
    createSecureContext({ ca, cert, key });
  } catch (cause) {
    throw new TypeError("tls must hold PEM certificates, and the key of its cert", { cause });
  }
  return { ca, cert, key, serverName: tls.serverName };
}
