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
export interface EtcdTls {
  /** The authorities that may vouch for the server; the system's when absent. */
  readonly ca?: Buffer | string | undefined;
  /** Our own certificate and its key, for servers that ask clients for one. */
  readonly cert?: Buffer | string | undefined;
  readonly key?: Buffer | string | undefined;
  /**
   * The name to expect in the server's certificate, when it is not the endpoint's host. Worth giving where the host is an
   * IP address: otherwise gRPC sends that as the server's name, and Node prints a deprecation warning about it.
   */
  readonly serverName?: string | undefined;
}

/** How to reach an etcd cluster. */
export interface EtcdOptions {
  /** One URL for each member, `http://host:port` or `https://host:port`; all of one scheme. */
  readonly endpoints: readonly string[];
  /** The etcd user; needs `password`. */
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** For `https` endpoints. */
  readonly tls?: EtcdTls | undefined;
  /** Deadline of a call that sets none, in milliseconds; 5,000 when absent. */
  readonly callTimeoutMs?: number | undefined;
  /** Deadline of `connect` when it sets none, in milliseconds; 5,000 when absent. */
  readonly connectTimeoutMs?: number | undefined;
  /** The time this client lives by; the system's when absent. */
  readonly clock?: Clock | undefined;
}

/** Options that passed every check, with their defaults filled in. */
export interface Settings {
  readonly endpoints: readonly string[];
  readonly user: { readonly name: string; readonly password: string } | undefined;
  readonly tls: SecureSettings | undefined;
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
  "endpoints",
  "username",
  "password",
  "tls",
  "callTimeoutMs",
  "connectTimeoutMs",
  "clock",
] satisfies (keyof EtcdOptions)[];
const tlsNames = ["ca", "cert", "key", "serverName"] satisfies (keyof EtcdTls)[];

/** Checks what a caller gave to `etcd`; throws `TypeError` or `RangeError` naming the option. No secret is ever shown. */
export function settingsFrom(options: EtcdOptions): Settings {
  if (typeof options !== "object" || options === null) throw wrongType("the options of etcd", options, "an object");
  checkOptions("etcd", options, optionNames);
  const { username, password, callTimeoutMs = 5_000, connectTimeoutMs = 5_000, clock = systemClock } = options;
  const endpoints = checkEndpoints(options.endpoints);
  checkMs("callTimeoutMs", callTimeoutMs);
  checkMs("connectTimeoutMs", connectTimeoutMs);
  if (typeof clock?.monotonicMs !== "function") throw wrongType("clock", clock, "a Clock");
  const secure = endpoints[0]?.startsWith("https:") === true;
  if (options.tls !== undefined && !secure) throw new TypeError("tls needs endpoints that start with https://");
  return {
    endpoints,
    user: checkUser(username, password),
    tls: secure ? checkTls(options.tls ?? {}) : undefined,
    callTimeoutMs,
    connectTimeoutMs,
    clock,
  };
}

function checkEndpoints(endpoints: unknown): readonly string[] {
  if (!Array.isArray(endpoints)) throw wrongType("endpoints", endpoints, "an array of URLs");
  if (endpoints.length === 0) throw new RangeError("endpoints must name at least one URL");
  const clean = endpoints.map((endpoint, index) => cleanEndpoint(`endpoints[${index}]`, endpoint));
  if (new Set(clean.map((endpoint) => new URL(endpoint).protocol)).size > 1) {
    throw new RangeError("endpoints must be all http:// or all https://, not a mixture");
  }
  return [...new Set(clean)];
}

function cleanEndpoint(argument: string, endpoint: unknown): string {
  const allowed = "a URL like http://127.0.0.1:2379 or https://etcd.example:2379";
  if (typeof endpoint !== "string") throw wrongType(argument, endpoint, allowed);
  // A URL object would drop a port that is its scheme's own, and gRPC wants every port spelt out.
  const [, scheme, host, port] = /^(https?):\/\/([^\s/?#@\\]+):(\d{1,5})\/?$/i.exec(endpoint) ?? [];
  // What is wrong may be credentials inside the URL, so the URL is not shown.
  if (scheme === undefined || host === undefined || !URL.canParse(endpoint) || Number(port) < 1) {
    throw new RangeError(`${argument} must be ${allowed}, with a port and without a path or credentials`);
  }
  return `${scheme.toLowerCase()}://${host}:${Number(port)}`;
}

function checkUser(username: unknown, password: unknown): Settings["user"] {
  if (username === undefined && password === undefined) return undefined;
  if (typeof username !== "string" || username === "") {
    throw wrongType("username", username, "the user that password belongs to");
  }
  checkText("username", username);
  if (typeof password !== "string") throw new TypeError("password must be a string, and is needed with username");
  return { name: username, password };
}

function checkTls(tls: EtcdTls): SecureSettings {
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

/** What a version says of itself, as `[major, minor, patch]`. */
export function parseVersion(version: string): readonly [number, number, number] {
  const [, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined) throw outOfRange("the server's version", version, "like 3.5.30");
  return [Number(major), Number(minor), Number(patch)];
}
