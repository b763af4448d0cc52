import { checkMs, checkOptions, checkText, outOfRange, wrongType } from "./arguments.ts";
import { decode } from "./bytes.ts";
import { type Clock, systemClock } from "./ports/clock.ts";

/** What every adapter takes, whatever store it is for. */
export interface AdapterOptions {
  /** Deadline of a call that sets none, in milliseconds; 5,000 when absent. */
  readonly callTimeoutMs?: number | undefined;
  /** Deadline of `connect` when it sets none, in milliseconds; 5,000 when absent. */
  readonly connectTimeoutMs?: number | undefined;
  /** The time this client lives by; the system's when absent. */
  readonly clock?: Clock | undefined;
}

/** That, checked, with its defaults filled in. */
export interface AdapterSettings {
  readonly callTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly clock: Clock;
}

/** Whom to trust and who we are, each as PEM. */
export interface TlsOptions {
  /** The authorities that may vouch for the server; the system's when absent. */
  readonly ca?: Uint8Array | string | undefined;
  /** Our own certificate and its key, for servers that ask clients for one. */
  readonly cert?: Uint8Array | string | undefined;
  readonly key?: Uint8Array | string | undefined;
  /** The name to expect in the server's certificate, when it is not the host that we connect to. */
  readonly serverName?: string | undefined;
}

/** That, checked, as text. */
export interface TlsSettings {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly serverName: string | undefined;
}

/** A user and its password. */
export interface User {
  readonly name: string;
  readonly password: string;
}

/**
 * Checks that the options given to an adapter, named `adapter`, are an object with only options that are its `own` or
 * every adapter's, and the latter. Throws `TypeError` or `RangeError` naming the option.
 */
export function checkAdapterOptions(adapter: string, options: AdapterOptions, own: readonly string[]): AdapterSettings {
  if (options === undefined) throw wrongType(`the options of ${adapter}`, options, "an object");
  checkOptions(adapter, options, [...own, "callTimeoutMs", "connectTimeoutMs", "clock"]);
  const { callTimeoutMs = 5_000, connectTimeoutMs = 5_000, clock = systemClock } = options;
  checkMs("callTimeoutMs", callTimeoutMs);
  checkMs("connectTimeoutMs", connectTimeoutMs);
  if (typeof clock?.monotonicMs !== "function") throw wrongType("clock", clock, "a Clock");
  return { callTimeoutMs, connectTimeoutMs, clock };
}

/**
 * Checks a user's name and password, given as the options named; undefined when there is neither. Throws `TypeError` or
 * `RangeError` naming the option, and never shows the password.
 */
export function checkUser(
  [nameOption, name]: readonly [string, unknown],
  [passwordOption, password]: readonly [string, unknown],
): User | undefined {
  if (name === undefined && password === undefined) return undefined;
  const allowed = `the user that ${passwordOption} belongs to`;
  if (name === undefined) throw wrongType(nameOption, name, allowed);
  checkText(nameOption, name);
  if (name === "") throw outOfRange(nameOption, name, allowed);
  if (typeof password !== "string")
    throw new TypeError(`${passwordOption} must be a string, and is needed with ${nameOption}`);
  return { name, password };
}

/**
 * Checks the option `tls`. `prove` is given what it holds, and throws when that is no PEM or the key is not the
 * certificate's: for an adapter on Node, `createSecureContext`. Throws `TypeError` or `RangeError` that show nothing of it.
 */
export function checkTls(tls: TlsOptions, prove: (tls: TlsSettings) => unknown): TlsSettings {
  if (tls === undefined) throw wrongType("tls", tls, "an object");
  checkOptions("tls", tls, ["ca", "cert", "key", "serverName"]);
  const pem = (name: "ca" | "cert" | "key"): string | undefined => {
    const given: unknown = tls[name];
    if (given === undefined || typeof given === "string") return given;
    if (given instanceof Uint8Array) return decode(given);
    throw new TypeError(`tls.${name} must be PEM, as a string or a Buffer`);
  };
  const { serverName } = tls;
  const settings = { ca: pem("ca"), cert: pem("cert"), key: pem("key"), serverName };
  if ((tls.cert === undefined) !== (tls.key === undefined))
    throw new TypeError("tls.cert and tls.key must be given together");
  if (serverName !== undefined) checkText("tls.serverName", serverName);
  try {
    prove(settings);
  } catch (cause) {
    throw new TypeError("tls must hold PEM certificates, and the key of its cert", { cause });
  }
  return settings;
}
