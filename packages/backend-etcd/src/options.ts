import { createSecureContext } from "node:tls";
import {
  type AdapterOptions,
  type AdapterSettings,
  checkAdapterOptions,
  checkTls,
  checkUser,
  outOfRange,
  type TlsOptions,
  type TlsSettings,
  type User,
  wrongType,
} from "@conclave/core/backend";

/** Whom to trust and who we are, each as PEM. */
export interface EtcdTls extends TlsOptions {
  /**
   * The name to expect in the server's certificate, when it is not the endpoint's host. Worth giving where the host is an
   * IP address: otherwise gRPC sends that as the server's name, and Node prints a deprecation warning about it.
   */
  readonly serverName?: string | undefined;
}

/** How to reach an etcd cluster. */
export interface EtcdOptions extends AdapterOptions {
  /** One URL for each member, `http://host:port` or `https://host:port`; all of one scheme. */
  readonly endpoints: readonly string[];
  /** The etcd user; needs `password`. */
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** For `https` endpoints. */
  readonly tls?: EtcdTls | undefined;
}

/** Options that passed every check, with their defaults filled in. */
export interface Settings extends AdapterSettings {
  readonly endpoints: readonly string[];
  readonly user: User | undefined;
  readonly tls: TlsSettings | undefined;
}

const optionNames = ["endpoints", "username", "password", "tls"] satisfies (keyof EtcdOptions)[];

/** Checks what a caller gave to `etcd`; throws `TypeError` or `RangeError` naming the option. No secret is ever shown. */
export function settingsFrom(options: EtcdOptions): Settings {
  const shared = checkAdapterOptions("etcd", options, optionNames);
  const { username, password, tls } = options;
  const endpoints = checkEndpoints(options.endpoints);
  const secure = endpoints[0]?.startsWith("https:") === true;
  if (tls !== undefined && !secure) throw new TypeError("tls needs endpoints that start with https://");
  return {
    ...shared,
    endpoints,
    user: checkUser(["username", username], ["password", password]),
    tls: secure ? checkTls(tls ?? {}, createSecureContext) : undefined,
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

/** What a version says of itself, as `[major, minor, patch]`. */
export function parseVersion(version: string): readonly [number, number, number] {
  const [, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined) throw outOfRange("the server's version", version, "like 3.5.30");
  return [Number(major), Number(minor), Number(patch)];
}
