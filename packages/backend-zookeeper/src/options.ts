import {
  type AdapterOptions,
  type AdapterSettings,
  checkAdapterOptions,
  checkText,
  outOfRange,
  wrongType,
} from "@conclave/core/backend";

/** How to reach a ZooKeeper ensemble. Nothing is encrypted on the way: the client underneath knows no TLS. */
export interface ZooKeeperOptions extends AdapterOptions {
  /** `host:port` of each server, `[host]:port` for an IPv6 address. */
  readonly servers: readonly string[];
  /** The node under which everything is kept; "/conclave" when absent. Whoever shares it shares the store. */
  readonly root?: string | undefined;
  /** `user:password` for ZooKeeper's digest scheme: what is written is then that user's alone. */
  readonly auth?: string | undefined;
}

/** Where a server listens. */
export interface Server {
  readonly host: string;
  readonly port: number;
}

/** Options that passed every check, with their defaults filled in. */
export interface Settings extends AdapterSettings {
  readonly servers: readonly Server[];
  readonly root: string;
  readonly auth: string | undefined;
}

const optionNames = ["servers", "root", "auth"] satisfies (keyof ZooKeeperOptions)[];

/** Checks what a caller gave to `zookeeper`; throws `TypeError` or `RangeError` naming the option. No secret is ever shown. */
export function settingsFrom(options: ZooKeeperOptions): Settings {
  const shared = checkAdapterOptions("zookeeper", options, optionNames);
  const { root = "/conclave", auth } = options;
  const servers = checkServers(options.servers);
  checkRoot(root);
  checkAuth(auth);
  return { ...shared, servers, root, auth };
}

function checkServers(servers: unknown): readonly Server[] {
  if (!Array.isArray(servers)) throw wrongType("servers", servers, "an array of host:port");
  if (servers.length === 0) throw new RangeError("servers must name at least one host:port");
  const clean = servers.map((server, index) => checkServer(`servers[${index}]`, server));
  return [...new Map(clean.map((server) => [`${server.host}:${server.port}`, server])).values()];
}

function checkServer(argument: string, server: unknown): Server {
  const allowed = "host:port, such as zk1.example:2181 or [::1]:2181";
  if (typeof server !== "string") throw wrongType(argument, server, allowed);
  const [, address, name, digits] = /^(?:\[([0-9a-f:.]+)\]|([^\s:/?#@[\]\\,]+)):(\d{1,5})$/i.exec(server) ?? [];
  const host = address ?? name;
  const port = Number(digits);
  // What is wrong may be credentials, so it is not shown.
  if (host === undefined || port < 1 || port > 65_535) {
    throw new RangeError(`${argument} must be ${allowed}, without a path or credentials`);
  }
  return { host: host.toLowerCase(), port };
}

function checkRoot(root: unknown): asserts root is string {
  checkText("root", root);
  const isPath = /^(\/[^/]+)+$/.test(root) && !/\/\.{1,2}(\/|$)/.test(root);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what ZooKeeper refuses in a path.
  if (!isPath || /[\u0001-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff]/.test(root)) {
    throw outOfRange("root", root, "a path such as /conclave, of names without control characters");
  }
  if (/^\/zookeeper(\/|$)/.test(root)) throw outOfRange("root", root, "outside /zookeeper, which is the server's own");
}

function checkAuth(auth: unknown): asserts auth is string | undefined {
  if (auth === undefined) return;
  if (typeof auth !== "string" || !/^[^:]+:/.test(auth) || !auth.isWellFormed()) {
    throw new TypeError("auth must be user:password, for ZooKeeper's digest scheme");
  }
}
