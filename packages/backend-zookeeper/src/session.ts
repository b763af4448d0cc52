import { abortable, backoffMs, type Clock, CoordinationError, sleep } from "@conclave/core/backend";
import type { SessionKey } from "./bare-client.ts";
import { Connection, ConnectionFailure } from "./connection.ts";
import type { Server } from "./options.ts";
import { isExpired } from "./outcome.ts";

/** How to have a session. */
export interface SessionOptions {
  readonly servers: readonly Server[];
  /** The session timeout to ask for, in milliseconds. */
  readonly sessionTimeoutMs: number;
  /** `user:password` for the digest scheme: nodes are then created for that user alone, and otherwise for everybody. */
  readonly auth: string | undefined;
  readonly clock: Clock;
  /**
   * Whether it goes on for good: then it keeps itself alive, and becomes another session when it has expired. Otherwise
   * it lives by what is sent, and ends.
   */
  readonly lasting: boolean;
  /** The newest transaction that this client has seen, by whatever link. */
  readonly horizon: Horizon;
  /** Requests after which a connection is replaced; 2^30 when absent, since the client counts them and throws at 2^31. */
  readonly requestsPerConnection?: number | undefined;
}

/** The newest transaction a client has seen anything of; servers that are behind it turn the client away. */
export interface Horizon {
  zxid: bigint;
}

/** How long a server may say nothing while requests wait: a third of the session's time, within these bounds. */
const patienceBoundsMs = [1_000, 2_500] as const;
/** How long it may take over a handshake: a sixth, since who renews must get to another server in time. */
const handshakeBoundsMs = [250, 2_000] as const;
/** To open a session is a write, which may take longer than to go on with one. */
const shortestOpeningMs = 1_000;
/** How long a lasting session may ask for nothing, in milliseconds: news that cannot come is missed for so long at most. */
const longestQuietMs = 2_500;

/** The longest pause between two attempts, in milliseconds. */
export const longestRestMs = 500;

/** A session with ZooKeeper, and the one connection it has, which is made when there is something to send. */
export class Session {
  readonly #options: SessionOptions;
  readonly #ended = new AbortController();
  #key: SessionKey | undefined;
  #timeoutMs = 0;
  #connection: Connection | undefined;
  /** Takes no new requests; what is under way on it is to settle before the session moves to another one. */
  #retired: Connection | undefined;
  /** Is to close the session. */
  #released: Connection | undefined;
  #opening: Promise<Connection> | undefined;
  #waiting = 0;
  #server: number;
  #heartbeat: Disposable | undefined;
  /** Why there was no connection, the last time that there was none. */
  lastFailure: unknown;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#server = Math.floor(options.clock.random() * options.servers.length);
  }

  /** In lower-case hex; "0" while there is none. */
  get id(): string {
    return (this.#key?.id.readBigUInt64BE() ?? 0n).toString(16);
  }

  /** What the server last granted, in milliseconds. */
  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  /** Aborts when it has ended: with `LEASE_LOST` when it is known to have expired, or with what ended it. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Whether requests may be sent on this connection; to be asked just before. */
  isServedBy(connection: Connection): boolean {
    return connection === this.#connection;
  }

  /** The connection to send on; waits for one. */
  async connected(signal: AbortSignal): Promise<Connection> {
    const connection = this.#connection;
    if (connection?.failure) {
      this.lastFailure = connection.failure;
      this.#connection = undefined;
      this.#server += 1;
    } else if (connection && connection.sent < (this.#options.requestsPerConnection ?? 2 ** 30)) return connection;
    else if (connection) this.retire(connection);
    this.#waiting += 1;
    try {
      this.#opening ??= this.#open().finally(() => {
        this.#opening = undefined;
      });
      return await abortable(this.#opening, signal);
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Goes from server to server until one goes on with the session, or nobody waits for that any more. */
  async #open(): Promise<Connection> {
    const { servers, clock } = this.#options;
    for (let failures = 0; ; ) {
      await this.#settled();
      this.ended.throwIfAborted();
      try {
        const connection = await this.#handshake(Math.floor(failures / servers.length));
        this.#adopt(connection);
        return connection;
      } catch (error) {
        if (isExpired(error)) {
          this.expired(this.#connection);
          continue;
        }
        this.lastFailure = error;
        this.#server += 1;
        failures += 1;
        const isDenied = error instanceof ConnectionFailure && error.kind === "denied";
        if (isDenied || this.#waiting === 0) throw error;
        if (failures % servers.length > 0) continue;
        await sleep(clock, backoffMs(clock, failures / servers.length, longestRestMs), this.ended);
      }
    }
  }

  /** A server that hears of the session anew drops the connection it had; so what is under way there is given some time. */
  async #settled(): Promise<void> {
    const retired = this.#retired;
    using _timer = this.#options.clock.after(this.#within(handshakeBoundsMs, 6), () =>
      retired?.destroy("the session could not wait for it"),
    );
    await retired?.idle();
  }

  #handshake(rounds: number): Promise<Connection> {
    const { servers, horizon, auth, clock } = this.#options;
    const { host, port } = servers[this.#server % servers.length] as Server;
    const resumingMs = this.#within(handshakeBoundsMs, 6);
    const timeoutMs = this.#key ? resumingMs : Math.max(resumingMs, shortestOpeningMs);
    return Connection.open(
      {
        ...{ host, port, auth, clock, session: this.#key },
        sessionTimeoutMs: this.#options.sessionTimeoutMs,
        zxid: horizon.zxid,
        timeoutMs: timeoutMs * 2 ** Math.min(rounds, 3),
        patienceMs: this.#within(patienceBoundsMs, 3),
      },
      this.ended,
    );
  }

  #within([leastMs, mostMs]: readonly [number, number], part: number): number {
    const timeoutMs = this.#timeoutMs || this.#options.sessionTimeoutMs;
    return Math.max(leastMs, Math.min(timeoutMs / part, mostMs));
  }

  #adopt(connection: Connection): void {
    if (this.ended.aborted) connection.destroy("the link has ended");
    this.ended.throwIfAborted();
    this.#key = connection.session;
    this.#timeoutMs = connection.timeoutMs;
    this.#connection = connection;
    this.#retired?.destroy("the session moved to another connection");
    this.#retired = undefined;
    if (this.#options.lasting) this.#keepAlive(connection);
  }

  /** The server drops a session that sends nothing, however much it sends to it. */
  #keepAlive(connection: Connection): void {
    this.#heartbeat?.[Symbol.dispose]();
    this.#heartbeat = this.#options.clock.after(Math.min(this.#timeoutMs / 3, longestQuietMs), () => {
      if (connection.failure) return;
      connection.exists("/").catch(() => {});
      this.#keepAlive(connection);
    });
  }

  /** What is under way on the connection goes on, and the next request gets another one. */
  retire(connection: Connection): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#retired = connection;
  }

  /** Lets no new requests on the connection, which is to close the session; nor has it to be idle before another one. */
  release(connection: Connection): void {
    if (this.#connection === connection) this.#connection = undefined;
    this.#released = connection;
  }

  /** Learns that it has expired. What a connection says that is not in use any more is left to the one that is to say. */
  expired(connection: Connection | undefined): void {
    if (connection !== this.#connection) return;
    for (const one of [connection, this.#retired]) one?.destroy("its session has expired");
    this.#connection = undefined;
    this.#key = undefined;
    if (this.#options.lasting) return;
    this.end(new CoordinationError("LEASE_LOST", "ZooKeeper says that the session has expired"));
  }

  /** Ends it here, and leaves it to expire on the server. */
  end(reason: Error): void {
    if (this.ended.aborted) return;
    this.#ended.abort(reason);
    this.#heartbeat?.[Symbol.dispose]();
    for (const one of [this.#connection, this.#retired, this.#released]) one?.destroy("the link has ended");
  }
}
