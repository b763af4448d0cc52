import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { listenAnywhere } from "../../../test/harness/ports.ts";
import type { RedisNode } from "../src/index.ts";

/** One client's way to a cluster, with a door of its own for every member, so that this client alone can be locked out. */
export interface ClusterDoors {
  readonly nodes: readonly RedisNode[];
  /** Resets every connection and lets nobody in any more. */
  close(): Promise<void>;
}

/** Opens a door to each member. A member names others by their ports, which become those of their doors on the way. */
export async function openDoors(members: readonly { readonly port: number }[]): Promise<ClusterDoors> {
  const sockets = new Set<Socket>();
  const doors: Server[] = [];
  const portOf = new Map<number, number>();
  for (const { port } of members) {
    const door = createServer({ noDelay: true }, (client) => {
      const member = createConnection({ host: "127.0.0.1", port, noDelay: true });
      for (const [socket, other] of [
        [client, member],
        [member, client],
      ] as const) {
        sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => {
          sockets.delete(socket);
          other.destroy();
        });
      }
      client.pipe(member);
      member.on("data", (chunk) => client.write(translated(chunk, portOf)));
    });
    portOf.set(port, await listenAnywhere(door));
    doors.push(door);
  }
  return {
    nodes: [...portOf.values()].map((port) => ({ host: "127.0.0.1", port })),
    async close() {
      const closed = doors.filter((door) => door.listening).map((door) => once(door.close(), "close"));
      for (const socket of sockets) socket.resetAndDestroy();
      await Promise.all(closed);
    },
  };
}

/** Both `-MOVED 42 127.0.0.1:7000` and the ports in what CLUSTER SLOTS gives end a line with a colon and the port. */
function translated(chunk: Buffer, portOf: ReadonlyMap<number, number>): Buffer {
  let text = chunk.toString("latin1");
  for (const [port, door] of portOf) text = text.replaceAll(`:${port}\r\n`, `:${door}\r\n`);
  return Buffer.from(text, "latin1");
}
