import {
  type Backend,
  type Connector,
  type ConnectorOptions,
  CoordinationError,
  checked,
  checkOptions,
  type Guarantees,
  isCoordinationError,
  type Lease,
  type Limits,
  portableLimits,
} from "@conclave/core/backend";
import { Deadline } from "./deadline.ts";
import { ZooKeeperKv } from "./kv.ts";
import { creation, Layout } from "./layout.ts";
import { shortestSession, ZooKeeperLeases } from "./leases.ts";
import { type Horizon, Link } from "./link.ts";
import { type Settings, settingsFrom, type ZooKeeperOptions } from "./options.ts";
import { Reader } from "./reader.ts";
import { Sightings } from "./sightings.ts";
import { Sweeper } from "./sweeper.ts";
import { ZooKeeperWatches } from "./watches.ts";

/** What the session that reads and watches asks for, to be told the most that is granted: 20 ticks, unless servers are told otherwise. */
const longestSessionMs = 2 ** 31 - 1;

/** How long a client that is closed takes to leave things tidy. */
const farewellMs = 1_000;

/** How long an empty directory is left alone, since what was in it may well come again. */
const emptyRestMs = 30_000;

const guarantees: Omit<Guarantees, "expiryLagMs"> = {
  consistency:
    "Linearizable: every write is agreed on by a majority of the servers, and every read follows such a write.",
  watchDelayMs: 150,
  failover:
    "Loses nothing acknowledged while a majority keeps its disks. Leases live on for up to a whole time to live more.",
  mayForget: false,
  cost:
    "A commit is one write that a majority agrees on, and mostly a round trip before it, to look; a read costs a write too. " +
    "A lease is a session with a connection of its own.",
};

/**
 * Stores on a ZooKeeper ensemble. Does no I/O: `connect` on what it returns makes a client, each time another one, which
 * its caller disposes. Throws `TypeError` or `RangeError` on options that cannot be meant.
 *
 * `connect` rejects with `UNAVAILABLE` when no server answers in time, and `DENIED` on wrong credentials or when the root
 * may not be written.
 */
export function zookeeper(options: ZooKeeperOptions): Connector {
  const settings = settingsFrom(options);
  return { connect: (connectorOptions) => connect(settings, connectorOptions) };
}

async function connect(settings: Settings, options: ConnectorOptions = {}): Promise<Backend> {
  checkOptions("connect", options, ["signal", "timeoutMs", "onWarning"]);
  options.signal?.throwIfAborted();
  const deadline = new Deadline(settings.clock, options, settings.connectTimeoutMs);
  const horizon: Horizon = { zxid: 0n };
  const { servers, auth, clock, callTimeoutMs } = settings;
  const shared = { servers, auth, clock, callTimeoutMs, horizon };
  const link = new Link({ ...shared, sessionTimeoutMs: longestSessionMs, lasting: true });
  try {
    await link.open(deadline.call);
    const layout = new Layout(settings.root);
    const [minTtlMs] = await Promise.all([shortestSession(shared, deadline.call), layGround(link, layout, deadline)]);
    const granted = { minTtlMs, maxTtlMs: link.timeoutMs };
    const leases = new ZooKeeperLeases(shared);
    return checked(new ZooKeeperBackend(link, leases, layout, settings, { ...portableLimits, ...granted }));
  } catch (error) {
    link.abandon();
    throw error;
  }
}

/** Creates what is to be there before anything else. Others may be doing the same. */
async function layGround(link: Link, layout: Layout, deadline: Deadline): Promise<void> {
  const { groundwork } = layout;
  // All of it but the parents of the root is made in one multi, so what comes last tells of all.
  const { stat } = await link.exists(groundwork.at(-1) as string, undefined, deadline.call);
  if (stat !== undefined) return;
  for (const path of layout.parents) {
    const answer = await link.exists(path, undefined, deadline.call);
    if (answer.stat === undefined) await create(link, [path], deadline);
  }
  await create(link, groundwork, deadline);
}

/** Creates them, unless the first of them is there, or was created meanwhile. */
async function create(link: Link, paths: readonly string[], deadline: Deadline): Promise<void> {
  for (;;) {
    try {
      const answer = await link.multi(
        paths.flatMap((path) => creation(path)),
        deadline.call,
      );
      if (answer.applied || answer.refusal === "NODE_EXISTS") return;
      throw new CoordinationError("UNAVAILABLE", `ZooKeeper does not create ${paths[0]}: ${answer.refusal}`);
    } catch (error) {
      // Made twice, it is refused the second time, so the answer matters, and not whose multi it was.
      if (!isCoordinationError(error, "OUTCOME_UNKNOWN")) throw error;
      deadline.check();
    }
  }
}

class ZooKeeperBackend implements Backend {
  readonly name = "zookeeper";
  readonly limits: Limits;
  readonly guarantees: Guarantees;
  readonly clock: Backend["clock"];
  readonly kv: ZooKeeperKv;
  readonly leases: ZooKeeperLeases;
  readonly watches: ZooKeeperWatches;
  readonly #link: Link;
  readonly #sweeper: Sweeper;

  constructor(link: Link, leases: ZooKeeperLeases, layout: Layout, settings: Settings, limits: Limits) {
    this.#link = link;
    this.limits = limits;
    // A session ends with the tick after its time, or the next: at the least it lasts two, unless servers are told otherwise.
    this.guarantees = { ...guarantees, expiryLagMs: limits.minTtlMs };
    this.clock = settings.clock;
    const { clock, callTimeoutMs } = settings;
    const sightings = new Sightings();
    const reader = new Reader(link, layout, sightings, clock);
    const sweeper = new Sweeper(link, layout, { clock, callTimeoutMs, restMs: emptyRestMs });
    const linkOf = (lease: Lease) => leases.linkOf(lease);
    const onGone = (key: string) => sweeper.touch(layout.entry(key), false);
    this.kv = new ZooKeeperKv({ link, linkOf, layout, reader, sweeper, sightings }, settings);
    this.leases = leases;
    this.watches = new ZooKeeperWatches({ link, layout, clock, callTimeoutMs, onGone }, sightings);
    this.#sweeper = sweeper;
  }

  /** Leases are left to expire, as those of a process that ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    const reason = new CoordinationError("CLOSED", "this client of ZooKeeper was closed");
    this.leases.abandon(reason);
    const farewell = new Deadline(this.clock, { timeoutMs: farewellMs }, farewellMs);
    await this.#sweeper.finish(farewell);
    // The servers would keep the other session, and its watches, until it is over.
    await this.#link.close(farewell.call, reason).catch(() => this.#link.abandon(reason));
  }
}
