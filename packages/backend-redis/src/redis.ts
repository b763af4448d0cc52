import {
  type Backend,
  type Connector,
  type ConnectorOptions,
  checked,
  checkOptions,
  type Guarantees,
  type Limits,
  portableLimits,
} from "@conclave/core/backend";
import { Connection } from "./connection.ts";
import { RedisKv } from "./kv.ts";
import { minTtlMs, RedisLeases } from "./leases.ts";
import { type RedisOptions, type Settings, settingsFrom } from "./options.ts";
import { Route } from "./route.ts";
import { selfTest } from "./self-test.ts";
import { Horizon, Space } from "./space.ts";
import { RedisWatches, tickMs } from "./watches.ts";

const limits: Limits = { ...portableLimits, minTtlMs, maxTtlMs: 24 * 60 * 60 * 1_000 };

const guarantees: Guarantees = {
  consistency: "Single primary: linearizable while one primary serves and keeps its data.",
  expiryLagMs: tickMs,
  watchDelayMs: 150,
  failover:
    "May lose what the primary acknowledged last: two may then believe that they hold a lock. Watches tell of it by a " +
    "gap, and revisions, so fencing tokens, never repeat or go back while the servers' clocks agree.",
  mayForget: true,
  cost:
    "A commit is one round trip and one run of a script. A lease is an object in the store. A client has up to three " +
    "connections, and while it watches it hears of every change in its space and asks twice a second for leases to end.",
};

/**
 * Stores on Redis or Valkey. Does no I/O: `connect` on what it returns makes a client, each time another one, which its
 * caller disposes. Throws `TypeError` or `RangeError` on options that cannot be meant.
 *
 * `connect` rejects with `UNAVAILABLE` when no primary answers in time, `DENIED` on wrong credentials or certificates or
 * for a user who lacks a command, and `UNSUPPORTED` on servers too old or that may evict keys. It warns of settings that
 * weaken what this library promises.
 */
export function redis(options: RedisOptions): Connector {
  const settings = settingsFrom(options);
  return { connect: (connectorOptions) => connect(settings, connectorOptions) };
}

async function connect(settings: Settings, options: ConnectorOptions = {}): Promise<Backend> {
  checkOptions("connect", options, ["signal", "timeoutMs", "onWarning"]);
  const { signal, timeoutMs = settings.connectTimeoutMs, onWarning } = options;
  signal?.throwIfAborted();
  const client = new RedisBackend(settings);
  try {
    await client.selfTest({ signal, timeoutMs, onWarning });
  } catch (error) {
    await client[Symbol.asyncDispose]();
    throw error;
  }
  return checked(client);
}

class RedisBackend implements Backend {
  readonly name = "redis";
  readonly limits: Limits = limits;
  readonly guarantees: Guarantees = guarantees;
  readonly clock: Backend["clock"];
  readonly kv: RedisKv;
  readonly leases: RedisLeases;
  readonly watches: RedisWatches;
  readonly #calls: Connection;
  /** Leases have a connection of their own, so that no large reply can hold up a renewal. */
  readonly #renewals: Connection;
  readonly #events: Connection;

  constructor(settings: Settings) {
    const { clock, space } = settings;
    const route = new Route(settings);
    this.#calls = new Connection(route, "calls");
    this.#renewals = new Connection(route, "leases");
    this.#events = new Connection(route, "events");
    const horizon = new Horizon();
    const calls = new Space(space, this.#calls, horizon);
    this.clock = clock;
    this.kv = new RedisKv(calls);
    this.leases = new RedisLeases(new Space(space, this.#renewals, horizon), clock);
    this.watches = new RedisWatches(calls, this.#events, clock);
  }

  selfTest(options: ConnectorOptions): Promise<void> {
    return selfTest(this.#calls, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of [this.#calls, this.#renewals, this.#events]) connection.close();
  }
}
