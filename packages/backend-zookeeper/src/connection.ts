import { type Clock, onAbort } from "@conclave/core/backend";
import { ACL, type Client, CreateMode, Id, Permission, type Stat as RawStat } from "node-zookeeper-client";
import { type Address, BareClient, type SessionKey } from "./bare-client.ts";
import { Frames } from "./frames.ts";
import { OneShots } from "./one-shots.ts";
import { code, type MultiOp, type RawResult } from "./wire.ts";

/** The number under which the server answers to credentials. */
const authXid = -4;

/** Why there is no connection, or no longer. */
export class ConnectionFailure extends Error {
  readonly kind: "lost" | "expired" | "denied";

  constructor(kind: ConnectionFailure["kind"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ConnectionFailure";
    this.kind = kind;
  }
}

/** How to open a connection. */
export interface Handshake extends Address {
  readonly clock: Clock;
  /** How long the server may take over the handshake. */
  readonly timeoutMs: number;
  /** How long it may say nothing while requests wait; then the connection counts as dead. */
  readonly patienceMs: number;
}

/** What a request came to, and the newest transaction that the server knew when it answered. */
export interface Reply<T> {
  readonly value: T;
  readonly zxid: bigint;
}

type Done<T> = (error: unknown, value?: T) => void;

/**
 * One TCP connection that speaks for a session. Requests are sent at once, and reject with a `ConnectionFailure` when that
 * could not be, else with what the client throws: code -4 when the connection ended under them.
 */
export class Connection {
  /** When the handshake began. */
  readonly begunMs: number;
  /** How many requests were sent. */
  sent = 0;
  readonly #handshake: Handshake;
  readonly #client: BareClient;
  readonly #acl: ACL[];
  readonly #frames = new Frames();
  readonly #oneShots = new OneShots();
  readonly #idlers = new Set<() => void>();
  readonly #opened: Promise<void>;
  #settle!: { readonly resolve: () => void; readonly reject: (failure: ConnectionFailure) => void };
  #isOpen = false;
  /** The reply that is being taken apart. */
  #replyZxid = 0n;
  #pending = 0;
  /** When something was last heard, or a first request sent. */
  #quietSinceMs = 0;
  #patience: Disposable | undefined;
  #failure: ConnectionFailure | undefined;

  private constructor(handshake: Handshake) {
    const { auth, clock } = handshake;
    this.#handshake = handshake;
    this.begunMs = clock.monotonicMs();
    this.#acl = [new ACL(Permission.ALL, auth === undefined ? new Id("world", "anyone") : new Id("auth", ""))];
    this.#opened = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#client = new BareClient(handshake, {
      connected: () => {
        this.#isOpen = true;
        // Who has credentials is let in when the server has taken them.
        if (auth === undefined) this.#settle.resolve();
      },
      refused: (kind) => this.destroy(new ConnectionFailure(kind, refusals[kind])),
      received: (chunk, takeApart) => this.#received(chunk, takeApart),
      failed: (cause) => {
        this.#failure ??= new ConnectionFailure("lost", `the connection failed: ${cause.message}`, { cause });
      },
      ended: () => this.#gone(),
    });
  }

  /** Connects and shakes hands. Rejects with a `ConnectionFailure`, also when the signal aborts. */
  static async open(handshake: Handshake, signal: AbortSignal): Promise<Connection> {
    const { timeoutMs, clock } = handshake;
    const connection = new Connection(handshake);
    using _timer = clock.after(timeoutMs, () =>
      connection.destroy(`the handshake was not finished within ${Math.round(timeoutMs)} ms`),
    );
    using _link = onAbort(signal, () => connection.destroy("it is no longer wanted"));
    await connection.#opened;
    return connection;
  }

  get session(): SessionKey {
    return this.#client.session;
  }

  /** What the server granted the session, in milliseconds. */
  get timeoutMs(): number {
    return this.#client.requests.getSessionTimeout();
  }

  /** Why it ended; undefined while it lives. */
  get failure(): ConnectionFailure | undefined {
    return this.#failure;
  }

  /** Ends the connection, not the session. */
  destroy(why: string | ConnectionFailure): void {
    this.#failure ??= typeof why === "string" ? new ConnectionFailure("lost", why) : why;
    this.#client.destroy();
  }

  /** Resolves when no request waits for its answer. */
  idle(): Promise<void> {
    if (this.#pending === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idlers.add(resolve));
  }

  /** Undefined when there is no such node; then the watch is not set. */
  children(path: string, watch?: () => void): Promise<Reply<{ names: string[]; stat: RawStat } | undefined>> {
    return this.#request((client, done) => {
      const answered = this.#answered(`children of ${path}`, watch, done);
      const took = (error: unknown, names: string[], stat: RawStat) => answered(error, { names, stat });
      if (watch) client.getChildren(path, this.#oneShots.at(`children of ${path}`), took);
      else client.getChildren(path, took);
    });
  }

  /** Undefined when there is no such node; then the watch is not set. */
  data(path: string, watch?: () => void): Promise<Reply<{ data: Buffer; stat: RawStat } | undefined>> {
    return this.#request((client, done) => {
      const answered = this.#answered(`state of ${path}`, watch, done);
      const took = (error: unknown, data: Buffer | undefined, stat: RawStat) =>
        answered(error, { data: data ?? Buffer.alloc(0), stat });
      if (watch) client.getData(path, this.#oneShots.at(`state of ${path}`), took);
      else client.getData(path, took);
    });
  }

  /** Undefined when there is no such node; the watch is set in any case. */
  exists(path: string, watch?: () => void): Promise<Reply<RawStat | undefined>> {
    return this.#request((client, done) => {
      const answered = this.#answered(`state of ${path}`, watch, done);
      const took = (error: unknown, stat: RawStat | null) => answered(error, stat ?? undefined);
      if (watch) client.exists(path, this.#oneShots.at(`state of ${path}`), took);
      else client.exists(path, took);
    });
  }

  /** Resolves with what each step came to, also when the multi was refused because of one. */
  multi(ops: readonly MultiOp[]): Promise<Reply<readonly RawResult[]>> {
    return this.#request((client, done) => {
      const transaction = client.transaction();
      for (const op of ops) {
        if ("create" in op) {
          const { create, data = Buffer.alloc(0), ephemeral } = op;
          transaction.create(create, data, this.#acl, ephemeral ? CreateMode.EPHEMERAL : CreateMode.PERSISTENT);
        } else if ("set" in op) transaction.setData(op.set, op.data, sendable(op.version));
        else if ("remove" in op) transaction.remove(op.remove, sendable(op.version));
        else transaction.check(op.check, sendable(op.version));
      }
      transaction.commit((error, results?: readonly RawResult[]) => done(results ? undefined : error, results));
    });
  }

  /** Ends the session. Nothing can be sent after that. */
  closeSession(): Promise<Reply<undefined>> {
    return this.#request((_, done) => this.#client.closeSession((error) => done(error, undefined)));
  }

  #answered<T>(place: string, watch: (() => void) | undefined, done: Done<T | undefined>): Done<T> {
    return (error, value) => {
      if (error) done((error as { code?: number }).code === code.noNode ? undefined : error);
      else {
        if (watch) this.#oneShots.add(place, watch);
        done(undefined, value);
      }
    };
  }

  /** Sends at once. Rejects with a `ConnectionFailure` when that was not possible. */
  async #request<T>(send: (client: Client, done: Done<T>) => void): Promise<Reply<T>> {
    if (this.#failure) throw this.#failure;
    return new Promise((resolve, reject) => {
      const done = (settle: () => void) => {
        this.#pending -= 1;
        if (this.#pending === 0) this.#rest();
        settle();
      };
      this.sent += 1;
      this.#pending += 1;
      if (this.#pending === 1) {
        this.#quietSinceMs = this.#handshake.clock.monotonicMs();
        this.#await(this.#handshake.patienceMs, false);
      }
      this.#client.gather();
      try {
        send(this.#client.requests, (error, value) =>
          done(() => (error ? reject(error) : resolve({ value: value as T, zxid: this.#replyZxid }))),
        );
      } catch (unsendable) {
        done(() => reject(unsendable));
      }
    });
  }

  #rest(): void {
    this.#patience?.[Symbol.dispose]();
    for (const resolve of this.#idlers) resolve();
    this.#idlers.clear();
  }

  #await(ms: number, isSuspect: boolean): void {
    const { clock, patienceMs } = this.#handshake;
    this.#patience = clock.after(ms, () => {
      const silentMs = clock.monotonicMs() - this.#quietSinceMs;
      if (silentMs < patienceMs) this.#await(patienceMs - silentMs, false);
      // If we were stopped ourselves, what the server said meanwhile is read before the next timer.
      else if (!isSuspect) this.#await(1, true);
      else this.destroy(`the server left a request unanswered and said nothing for ${Math.round(silentMs)} ms`);
    });
  }

  /** Hands the client one message at a time: of several it would take the next by calling itself. */
  #received(chunk: Buffer, takeApart: (message: Buffer) => void): void {
    this.#quietSinceMs = this.#handshake.clock.monotonicMs();
    try {
      for (const message of this.#frames.push(chunk)) {
        if (this.#failure) return;
        if (this.#isOpen) this.#readHeader(message);
        takeApart(message);
      }
    } catch (cause) {
      // What the client does not understand must not end the process, nor may it be an event that nobody hears of.
      this.destroy(new ConnectionFailure("lost", "the server sent what cannot be understood", { cause }));
    }
  }

  #readHeader(message: Buffer): void {
    const xid = message.readInt32BE(4);
    if (xid >= 0) this.#replyZxid = message.readBigInt64BE(8);
    else if (xid === authXid && message.readInt32BE(16) === 0) this.#settle.resolve();
  }

  /** The client has failed what was under way before it says that it is disconnected. */
  #gone(): void {
    const whenOpened = "; so it does when it has too many from one address, or is behind what was seen elsewhere";
    this.#failure ??= new ConnectionFailure(
      "lost",
      `the server closed the connection${this.#isOpen ? "" : whenOpened}`,
    );
    this.#rest();
    this.#settle.reject(this.#failure);
    this.#oneShots.fireAll();
  }
}

const refusals = {
  expired: "the server says that the session has expired",
  denied: "the server does not take the credentials",
} as const;

/** The client sends 0 as "any version", so 0 is never sent: no node of ours is ever seen at it. */
function sendable(version: number | undefined): number {
  if (version === 0) throw new RangeError("a node's version must be 1 or more to be checked");
  return version ?? -1;
}
