import {
  type Backend,
  type Connector,
  type ConnectorOptions,
  CoordinationError,
  checked,
  checkOptions,
  type Guarantees,
  type Limits,
  portableLimits,
} from "@conclave/core/backend";
import type { IStatusResponse } from "etcd3";
import { Credentials } from "./credentials.ts";
import { Endpoints } from "./endpoints.ts";
import { EtcdKv, type Horizon } from "./kv.ts";
import { EtcdLeases } from "./leases.ts";
import { type EtcdOptions, parseVersion, type Settings, settingsFrom } from "./options.ts";
import { hasDetails } from "./outcome.ts";
import { EtcdWatches } from "./watches.ts";

// With etcd's own election timeout of a second; a server with a longer one raises short times to live further.
const limits: Limits = { ...portableLimits, minTtlMs: 2_000, maxTtlMs: 24 * 60 * 60 * 1_000 };

const guarantees: Guarantees = {
  consistency: "Linearizable: every read and write is agreed on by a majority of the members.",
  expiryLagMs: 1_500,
  watchDelayMs: 150,
  failover:
    "Loses nothing acknowledged while a majority keeps its disks. Leases live on for up to a whole time to live more.",
  mayForget: false,
  cost: "A commit is one round trip, shared by those issued while it is under way. A lease is an object in the store.",
};

/**
 * Stores on an etcd cluster. Does no I/O: `connect` on what it returns makes a client, each time another one, which its
 * caller disposes. Throws `TypeError` or `RangeError` on options that cannot be meant.
 *
 * `connect` rejects with `UNAVAILABLE` when no member answers in time, `DENIED` on wrong credentials or certificates,
 * and `UNSUPPORTED` on servers older than 3.4. It warns about servers with bugs that break promises of this library.
 */
export function etcd(options: EtcdOptions): Connector {
  const settings = settingsFrom(options);
  return { connect: (connectorOptions) => connect(settings, connectorOptions) };
}

async function connect(settings: Settings, options: ConnectorOptions = {}): Promise<Backend> {
  checkOptions("connect", options, ["signal", "timeoutMs", "onWarning"]);
  const { signal, timeoutMs = settings.connectTimeoutMs, onWarning } = options;
  signal?.throwIfAborted();
  const client = new EtcdBackend(settings);
  try {
    const version = await client.serverVersion({ signal, timeoutMs });
    const warning = version && warningAbout(version);
    if (warning) onWarning?.(warning);
  } catch (error) {
    await client[Symbol.asyncDispose]();
    throw error;
  }
  return checked(client);
}

class EtcdBackend implements Backend {
  readonly name = "etcd";
  readonly limits: Limits = limits;
  readonly guarantees: Guarantees = guarantees;
  readonly clock: Backend["clock"];
  readonly kv: EtcdKv;
  readonly leases: EtcdLeases;
  readonly watches: EtcdWatches;
  readonly #endpoints: Endpoints;
  /** Leases have a connection of their own, so that no large reply can hold up a renewal. */
  readonly #leaseEndpoints: Endpoints;

  constructor(settings: Settings) {
    const { user } = settings;
    const credentials = user && new Credentials(() => this.#login(user));
    this.clock = settings.clock;
    this.#endpoints = new Endpoints(settings, { credentials, ownConnection: false, longestRestMs: 1_000 });
    this.#leaseEndpoints = new Endpoints(settings, { credentials, ownConnection: true, longestRestMs: 250 });
    const horizon: Horizon = { seen: 0n };
    this.kv = new EtcdKv(this.#endpoints, settings, horizon);
    this.leases = new EtcdLeases(this.#leaseEndpoints, settings);
    this.watches = new EtcdWatches(this.#endpoints, settings, horizon);
  }

  /** What a member says it is; undefined from those, all of them recent, that tell it to administrators only. */
  async serverVersion(options: ConnectorOptions): Promise<string | undefined> {
    const status = { service: "Maintenance", method: "status", effect: "read" } as const;
    try {
      return (await this.#endpoints.call<IStatusResponse>(status, {}, options)).version;
    } catch (error) {
      if (error instanceof Error && hasDetails(error.cause, /permission denied/)) return undefined;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#endpoints.close();
    this.#leaseEndpoints.close();
  }

  #login({ name, password }: NonNullable<Settings["user"]>): Promise<{ readonly token: string }> {
    const authenticate = { service: "Auth", method: "authenticate", effect: "read", anonymous: true } as const;
    return this.#endpoints.call(authenticate, { name, password });
  }
}

/** What an operator should know of a server's version, if anything. */
function warningAbout(version: string): string | undefined {
  const [major, minor, patch] = parseVersion(version);
  if (major < 3 || (major === 3 && minor < 4)) {
    throw new CoordinationError("UNSUPPORTED", `etcd ${version} is too old; 3.4 is the oldest that works`);
  }
  const isSound = major > 3 || minor > 6 || (minor === 6 && patch >= 11) || (minor === 5 && patch >= 30);
  if (isSound) return undefined;
  return (
    `etcd ${version} has known bugs that can lose watch events, acknowledge dead leases or answer reads with old state; ` +
    "run 3.5.30, 3.6.11 or later"
  );
}
