import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { listenAnywhere } from "../../../test/harness/ports.ts";

/** What a client opens a connection with. */
export interface Handshake {
  readonly zxid: bigint;
  readonly timeoutMs: number;
  readonly sessionId: bigint;
}

/** What a client asks; `path` of requests that begin with one. */
export interface Request {
  readonly xid: number;
  readonly type: number;
  readonly path: string | undefined;
}

/** The requests' types, as ZooKeeper numbers them. */
export const opcode = { create: 1, exists: 3, getData: 4, getChildren2: 12, multi: 14, auth: 100, close: -11 } as const;

/** A connection as the server sees it. */
export interface FakeConnection {
  /** Which connection it is, from 1. */
  readonly nth: number;
  /** Ends the handshake; a timeout of 0 says that the session has expired. */
  welcome(session: { readonly id: bigint; readonly timeoutMs: number }): void;
  reply(request: Request, reply?: { readonly err?: number; readonly zxid?: bigint; readonly body?: Buffer }): void;
  /** Says that something happened at a path. */
  notify(type: number, path: string): void;
  /** Says whatever these bytes are. */
  say(bytes: Buffer): void;
  /** Holds back what is said from now on, to say it all at once in the end. */
  gather(say: () => void): void;
  drop(): void;
}

/** What a fake does. By default it grants every session what it asks for, and leaves requests unanswered. */
export interface Script {
  readonly connected?: (handshake: Handshake, connection: FakeConnection) => void;
  readonly asked?: (request: Request, connection: FakeConnection) => void;
}

export interface FakeZooKeeper extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly handshakes: readonly Handshake[];
  readonly requests: readonly (Request & { readonly connection: number })[];
  /** Connections that are open now. */
  readonly connections: number;
}

/** A server that speaks ZooKeeper's language and says what a test wants. */
export async function startFakeZooKeeper(script: Script): Promise<FakeZooKeeper> {
  const handshakes: Handshake[] = [];
  const requests: (Request & { connection: number })[] = [];
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    const connection = fakeConnection(socket, ++accepted);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    let unread = Buffer.alloc(0);
    let isWelcome = false;
    socket.on("data", (chunk) => {
      unread = Buffer.concat([unread, chunk]);
      while (unread.length >= 4 && unread.length >= 4 + unread.readInt32BE(0)) {
        const message = unread.subarray(4, 4 + unread.readInt32BE(0));
        unread = unread.subarray(4 + message.length);
        if (isWelcome) {
          const request = requestFrom(message);
          requests.push({ ...request, connection: connection.nth });
          script.asked?.(request, connection);
        } else {
          isWelcome = true;
          const handshake = {
            zxid: message.readBigInt64BE(4),
            timeoutMs: message.readInt32BE(12),
            sessionId: message.readBigInt64BE(16),
          };
          handshakes.push(handshake);
          const session = { id: handshake.sessionId || BigInt(connection.nth), timeoutMs: handshake.timeoutMs };
          if (script.connected) script.connected(handshake, connection);
          else connection.welcome(session);
        }
      }
    });
  });
  const port = await listenAnywhere(server);
  return {
    host: "127.0.0.1",
    port,
    handshakes,
    requests,
    get connections() {
      return sockets.size;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function requestFrom(message: Buffer): Request {
  const type = message.readInt32BE(4);
  const hasPath = type === opcode.exists || type === opcode.getData || type === opcode.getChildren2;
  const path = hasPath ? message.subarray(12, 12 + message.readInt32BE(8)).toString() : undefined;
  return { xid: message.readInt32BE(0), type, path };
}

function fakeConnection(socket: Socket, nth: number): FakeConnection {
  let gathered: Buffer[] | undefined;
  const say = (bytes: Buffer) => {
    if (gathered) gathered.push(bytes);
    else socket.write(bytes);
  };
  const message = (...parts: readonly Buffer[]) => say(Buffer.concat([int(Buffer.concat(parts).length), ...parts]));
  return {
    nth,
    welcome: ({ id, timeoutMs }) => message(int(0), int(timeoutMs), long(id), bytes(Buffer.alloc(16)), Buffer.of(0)),
    reply: ({ xid }, { err = 0, zxid = 1n, body = Buffer.alloc(0) } = {}) =>
      message(int(xid), long(zxid), int(err), body),
    notify: (type, path) => message(int(-1), long(-1n), int(0), int(type), int(3), bytes(Buffer.from(path))),
    say,
    gather(talk) {
      gathered = [];
      talk();
      const all = Buffer.concat(gathered);
      gathered = undefined;
      say(all);
    },
    drop: () => socket.resetAndDestroy(),
  };
}

/** A 32-bit number on the wire. */
export function int(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeInt32BE(value);
  return buffer;
}

function long(value: bigint): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigInt64BE(value);
  return buffer;
}

/** Bytes on the wire, with their length. */
export function bytes(value: Buffer): Buffer {
  return Buffer.concat([int(value.length), value]);
}

/** A node's stat on the wire: nothing but zeros and a version. */
export function stat(version = 1): Buffer {
  return Buffer.concat([Buffer.alloc(32), int(version), Buffer.alloc(32)]);
}

/** The answer to a multi that was refused, with what each step came to. */
export function refused(...errs: readonly number[]): Buffer {
  const steps = errs.map((err) => Buffer.concat([int(-1), Buffer.of(0), int(err), int(err)]));
  return Buffer.concat([...steps, int(-1), Buffer.of(1), int(-1)]);
}

/** The answer to a multi of checks that holds. */
export function checked(steps: number): Buffer {
  const held = Array.from({ length: steps }, () => Buffer.concat([int(13), Buffer.of(0), int(0)]));
  return Buffer.concat([...held, int(-1), Buffer.of(1), int(-1)]);
}

/** The answer to a multi of writes that was applied. */
export function applied(steps: number): Buffer {
  const done = Array.from({ length: steps }, () => Buffer.concat([int(5), Buffer.of(0), int(0), stat()]));
  return Buffer.concat([...done, int(-1), Buffer.of(1), int(-1)]);
}
