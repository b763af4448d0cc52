import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:net";

/** Each of the run's first workers has ports of its own, enough for a file that leaves a thousand proxies listening. */
const worker = Number(process.env["VITEST_POOL_ID"] ?? 0) % 5;
const [first, count] = [12_000 + 4_000 * worker, 4_000];
let next = randomInt(count);

/**
 * Has a server listen on a loopback port that was not given out before in a long while: who still calls a server that is
 * gone must not find another one there. Ports lie below the range from which systems take those of outgoing connections,
 * so that a server which is down for a moment finds its port free when it comes back.
 */
export async function listenAnywhere(server: Server): Promise<number> {
  for (let tries = 1; ; tries++) {
    const port = first + (next++ % count);
    try {
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
      return port;
    } catch (error) {
      if (tries === count) throw error;
    }
  }
}

/** A port as `listenAnywhere` finds them, on which nobody listens. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  const port = await listenAnywhere(probe);
  probe.close();
  await once(probe, "close");
  return port;
}
