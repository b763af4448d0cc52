import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** The only way from one client to its server. */
export interface Relay {
  /** `host:port` to connect to instead of the server's. */
  readonly address: string;
  /** Closes every connection and takes no more: all that a server sees of a client whose machine lost power. */
  cut(): void;
}

/** Listens on a free port and passes everything on to the server. */
export async function openRelay(server: { readonly host: string; readonly port: number }): Promise<Relay> {
  const sockets = new Set<Socket>();
  const relay = createServer((near) => {
    const far = connect(server);
    for (const [socket, opposite] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.pipe(opposite);
      socket.on("error", () => {}); // a close follows
      socket.on("close", () => {
        sockets.delete(socket);
        opposite.destroy();
      });
    }
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  return {
    address: `127.0.0.1:${(relay.address() as AddressInfo).port}`,
    cut() {
      relay.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
