import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { listenAnywhere } from "../../../test/harness/ports.ts";
import type { Way } from "../../../test/harness/proxied-subject.ts";
import type { RedisNode } from "../src/index.ts";

/** One client's way to a Redis, or to each member of a cluster, so that this client alone can be locked out. */
export interface Doors extends Way {
  readonly nodes: readonly RedisNode[];
  /** How often the client began to speak after the server had, but for the reader of changes, for whom nobody waits. */
  readonly turns: number;
}

/** Opens a door to each, given as `host:port`. Members name each other by their ports: on the way, by their doors'. */
export async function openDoors(members: readonly string[]): Promise<Doors> {
  const doors = new OpenDoors(members);
  await doors.open();
  return doors;
}

class OpenDoors implements Doors {
  turns = 0;
  readonly #members: readonly string[];
  readonly #sockets = new Set<Socket>();
  readonly #servers: Server[] = [];
  /** The port of each member's door, by its own. */
  readonly #ports = new Map<string, number>();

  constructor(members: readonly string[]) {
    this.#members = members;
  }

  get nodes(): readonly RedisNode[] {
    return [...this.#ports.values()].map((port) => ({ host: "127.0.0.1", port }));
  }

  async open(): Promise<void> {
    for (const member of this.#members) {
      const [host = "", port = ""] = member.split(":");
      const server = createServer({ noDelay: true }, (client) => {
        this.#join(client, createConnection({ host, port: Number(port), noDelay: true }));
      });
      this.#servers.push(server);
      this.#ports.set(port, await listenAnywhere(server));
    }
  }

  async refuse(): Promise<void> {
    const open = this.#servers.filter((server) => server.listening);
    const closed = open.map((server) => once(server.close(), "close"));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await Promise.all(closed);
  }

  stop(): Promise<void> {
    return this.refuse();
  }

  #join(client: Socket, member: Socket): void {
    let clientSpoke = false;
    client.on("data", (chunk) => {
      if (!clientSpoke && !chunk.includes("XREAD")) this.turns++;
      clientSpoke = true;
      member.write(chunk);
    });
    member.on("data", (chunk) => {
      clientSpoke = false;
      client.write(this.#translated(chunk));
    });
    this.#end(client, member);
    this.#end(member, client);
  }

  #end(socket: Socket, other: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#sockets.delete(socket);
      other.destroy();
    });
  }

  /** Both `-MOVED 42 127.0.0.1:7000` and the ports in what CLUSTER SLOTS gives end a line with a colon and the port. */
  #translated(chunk: Buffer): Buffer {
    let text = chunk.toString("latin1");
    for (const [port, door] of this.#ports) text = text.replaceAll(`:${port}\r\n`, `:${door}\r\n`);
    return Buffer.from(text, "latin1");
  }
}
