import {
  type AdapterOptions,
  type Backend,
  type Connector,
  type ConnectorOptions,
  CoordinationError,
  checkAdapterOptions,
  checked,
  checkOptions,
  type KV,
  type Leases,
  type Listing,
  outOfRange,
  portableLimits,
} from "@conclave/core/backend";
import { Calls, type Settings } from "./calls.ts";
import { decodeCommit, type EncodedCommit, encodeTxn, writes } from "./codec.ts";
import { setUp } from "./schema.ts";
import { watches } from "./watches.ts";

/** How to reach the database. */
export interface PostgresOptions extends AdapterOptions {
  /** Such as `postgres://user:password@host:5432/database`, with whatever else `pg` takes there. */
  readonly url: string;
  /** The schema that holds everything, made where it is not there: lower-case letters, digits and `_`; `conclave` when absent. */
  readonly schema?: string | undefined;
}

/** Stores in a database of PostgreSQL, 13 or later. Throws `TypeError` or `RangeError` on options that cannot be meant. */
export function postgres(options: PostgresOptions): Connector {
  const shared = checkAdapterOptions("postgres", options, ["url", "schema"]);
  const { url, schema = "conclave" } = options;
  // There may be a password in the URL, so it is not shown. Options there would replace ours.
  if (!URL.canParse(url) || !/^postgres(ql)?:(?!.*[?&]options=)/.test(url))
    throw new TypeError("url must be one like postgres://host, without options");
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) throw outOfRange("schema", schema, "a plain name in lower case");
  return { connect: (connectOptions) => connect({ ...shared, url, schema }, connectOptions) };
}

async function connect(settings: Settings, options: ConnectorOptions = {}): Promise<Backend> {
  checkOptions("connect", options, ["signal", "timeoutMs", "onWarning"]);
  const { signal, timeoutMs = settings.connectTimeoutMs } = options;
  signal?.throwIfAborted();
  const calls = new Calls(settings);
  // It is harmless to repeat, and must be where another client was faster, so it counts as a read.
  await calls.ask("read", setUp(settings.schema), [], { signal, timeoutMs }).catch((error: unknown) => {
    calls.close();
    throw error;
  });
  return checked({
    name: "postgres",
    kv: kv(calls),
    leases: leases(calls),
    watches: watches(calls),
    clock: settings.clock,
    limits: { ...portableLimits, minTtlMs, maxTtlMs: 24 * 60 * 60 * 1_000 },
    guarantees: {
      consistency: "Linearizable while one primary serves: writes are made one after another, under a lock.",
      expiryLagMs: 500,
      watchDelayMs: 400,
      failover: "Loses what an asynchronous standby did not have yet, and may then give out revisions again.",
      mayForget: true,
      cost: "A commit is one round trip and one flush of the log, made one after another. A lease is a row.",
    },
    [Symbol.asyncDispose]: async () => calls.close(),
  });
}

const minTtlMs = 1_000;
const leaseLost = () => new CoordinationError("LEASE_LOST", "the lease has expired or was revoked");

function kv(calls: Calls): KV {
  const commit: KV["commit"] = async (txn, options) => {
    const effect = writes(txn) ? "write" : "read";
    const values = [encodeTxn(txn), effect === "write"];
    const reply = await calls.ask<EncodedCommit | null>(effect, "select transact($1, $2)", values, options);
    if (reply === null) throw leaseLost();
    return decodeCommit(txn, reply);
  };
  return {
    commit,
    get: async (key, options) => (await commit({ then: [{ get: key }] }, options)).results[0],
    list: async (prefix, { signal, timeoutMs, ...selection } = {}) =>
      (await commit({ then: [{ list: prefix, ...selection }] }, { signal, timeoutMs })).results[0] as Listing,
  };
}

/** A lease is a row that says when it ends, by the server's clock. Whoever takes a turn ends those whose time is over. */
function leases(calls: Calls): Leases {
  return {
    grant: async ({ ttlMs: askedMs, ...options }) => {
      const [id, ttlMs] = [calls.settings.clock.id(), Math.max(minTtlMs, Math.ceil(askedMs))];
      const insert = "insert into leases values ($1, $2::int, clock_timestamp() + $2::int * interval '1 ms')";
      const renew = `update leases set expires_at = clock_timestamp() + ttl_ms * interval '1 ms'
        where id = $1 and expires_at > clock_timestamp() returning ttl_ms`;
      await calls.ask("write", insert, [id, ttlMs], options);
      return {
        id,
        ttlMs,
        keepAlive: async (each) => {
          const renewedMs = await calls.ask<number | undefined>("write", renew, [id], each);
          if (renewedMs === undefined) throw leaseLost();
          return renewedMs;
        },
        revoke: (each) => calls.ask("write", "select turn($1)", [id], each),
      };
    },
  };
}
