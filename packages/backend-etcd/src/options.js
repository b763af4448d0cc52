import { createSecureContext } from "node:tls";
import { checkMs, checkOptions, checkText, outOfRange, systemClock, wrongType } from "@conclave/core/backend";

const optionNames = ["endpoints", "username", "password", "tls", "callTimeoutMs", "connectTimeoutMs", "clock"];
const tlsNames = ["ca", "cert", "key", "serverName"];
/** Checks what a caller gave to `etcd`; throws `TypeError` or `RangeError` naming the option. No secret is ever shown. */
export function settingsFrom(options) {
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
function checkEndpoints(endpoints) {
  if (!Array.isArray(endpoints)) throw wrongType("endpoints", endpoints, "an array of URLs");
  if (endpoints.length === 0) throw new RangeError("endpoints must name at least one URL");
  const clean = endpoints.map((endpoint, index) => cleanEndpoint(`endpoints[${index}]`, endpoint));
  if (new Set(clean.map((endpoint) => new URL(endpoint).protocol)).size > 1) {
    throw new RangeError("endpoints must be all http:// or all https://, not a mixture");
  }
  return [...new Set(clean)];
}
function cleanEndpoint(argument, endpoint) {
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
function checkUser(username, password) {
  if (username === undefined && password === undefined) return undefined;
  if (typeof username !== "string" || username === "") {
    throw wrongType("username", username, "the user that password belongs to");
  }
  checkText("username", username);
  if (typeof password !== "string") throw new TypeError("password must be a string, and is needed with username");
  return { name: username, password };
}
function checkTls(tls) {
  if (typeof tls !== "object" || tls === null) throw wrongType("tls", tls, "an object");
  checkOptions("tls", tls, tlsNames);
  const pem = (name) => {
    const given = tls[name];
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
export function parseVersion(version) {
  const [, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined) throw outOfRange("the server's version", version, "like 3.5.30");
  return [Number(major), Number(minor), Number(patch)];
}
//# sourceMappingURL=options.js.map
