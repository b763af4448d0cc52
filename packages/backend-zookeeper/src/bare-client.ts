import type { Socket } from "node:net";
import { type Client, createClient, Exception } from "node-zookeeper-client";

/**
 * The inside of node-zookeeper-client 1.1.3, as far as we reach into it. Only this file does, and only to take away what
 * the client does by itself: choose servers, reconnect, ping, and take bytes apart.
 */
interface Innards {
  readonly socket: Socket;
  readonly zxid: Buffer;
  readonly connectTimeoutHandler: NodeJS.Timeout;
  on(event: "state", listener: (state: number) => void): void;
  connect(): void;
  findNextServer(callback: (server: { host: string; port: number }) => void): void;
  onSocketTimeout(): void;
  onSocketData(chunk: Buffer): void;
  queue(request: object, callback?: (error: unknown) => void): void;
}

/** The states of its connection that matter here. */
const state = { disconnected: 0, connected: 2, sessionExpired: -3, authenticationFailed: -4 } as const;

// The client throws on an error code that it does not know, inside the handler of its socket, and nobody hears of the
// call again. It looks this function up in its module each time, so here it can be taught all others.
const createKnown = (Exception as unknown as { create(err: number, path?: string): Error }).create;
Object.assign(Exception, {
  create(err: number, path?: string): Error {
    try {
      return createKnown(err, path);
    } catch {
      return Object.assign(new Error(`Exception: error code ${err}`), { code: err, getCode: () => err });
    }
  },
});

/** What proves to any server that a session is ours. */
export interface SessionKey {
  readonly id: Buffer;
  readonly password: Buffer;
}

/** Which session to speak for, and where. */
export interface Address {
  readonly host: string;
  readonly port: number;
  /** The session to go on with; a new one when absent. */
  readonly session: SessionKey | undefined;
  /** What to ask for. */
  readonly sessionTimeoutMs: number;
  /** The newest transaction seen: a server that has not got so far turns us away. */
  readonly zxid: bigint;
  /** `user:password`. */
  readonly auth: string | undefined;
}

/** What a bare client tells. */
export interface Listener {
  /** The server goes on with the session. */
  connected(): void;
  /** The server says that the session has expired, or that it does not take the credentials; the end follows. */
  refused(kind: "expired" | "denied"): void;
  /** Bytes came. What is a whole message of them is to be given to `takeApart`, which throws on what it does not know. */
  received(chunk: Buffer, takeApart: (message: Buffer) => void): void;
  /** The connection broke, or never came to be; the end follows. */
  failed(cause: Error): void;
  /** It is over. What was under way has been told so before. */
  ended(): void;
}

/**
 * A client of node-zookeeper-client with a single connection, to one server: the client would go on by itself to others,
 * and take its queues along. So what was sent is known: what was asked of `requests` after `connected`, all and at once.
 */
export class BareClient {
  readonly requests: Client;
  readonly #innards: Innards;

  /** Begins to connect. */
  constructor({ host, port, session, sessionTimeoutMs, zxid, auth }: Address, listener: Listener) {
    const options = { sessionTimeout: sessionTimeoutMs, sessionId: session?.id, sessionPassword: session?.password };
    this.requests = createClient("chosen-by-us", options);
    const innards = (this.requests as unknown as { connectionManager: Innards }).connectionManager;
    this.#innards = innards;
    const takeApart = innards.onSocketData.bind(innards);
    innards.zxid.writeBigInt64BE(zxid);
    innards.findNextServer = (callback) => callback({ host, port });
    // Only requests are signs of life here. It would ping when nothing comes or goes: not while it is flooded, though the
    // server hears nothing then, but for a lease that nobody renews.
    innards.onSocketTimeout = () => {};
    innards.onSocketData = (chunk) => listener.received(chunk, takeApart);
    innards.on("state", (now) => {
      if (now === state.connected) listener.connected();
      else if (now === state.sessionExpired) listener.refused("expired");
      else if (now === state.authenticationFailed) listener.refused("denied");
      else if (now === state.disconnected) listener.ended();
    });
    // Queued before there is a connection, it is the first to be sent on it.
    if (auth !== undefined) this.requests.addAuthInfo("digest", Buffer.from(auth));
    this.requests.connect();
    innards.connect = () => {};
    // Connecting has a deadline of ours; this one would be left running when the socket is destroyed first.
    clearTimeout(innards.connectTimeoutHandler);
    innards.socket.once("error", (cause) => listener.failed(cause));
  }

  get session(): SessionKey {
    return { id: this.requests.getSessionId(), password: this.requests.getSessionPassword() };
  }

  /** Has all that is asked for in one go leave in one write: a system call for each would cost more than all the rest. */
  gather(): void {
    const { socket } = this.#innards;
    if (socket.writableCorked > 0) return;
    socket.cork();
    process.nextTick(() => socket.uncork());
  }

  /** Closes the session. Nothing can be asked after that. */
  closeSession(done: (error: unknown) => void): void {
    const queue = this.#innards.queue.bind(this.#innards);
    // The client itself does not care for the answer.
    this.#innards.queue = (request) => queue(request, done);
    this.requests.close();
  }

  /** Ends the connection, not the session. */
  destroy(): void {
    this.#innards.socket.destroy();
  }
}
