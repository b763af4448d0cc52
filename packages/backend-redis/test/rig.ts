import { createConnection, createServer, type Socket } from "node:net";
import {
  type Backend,
  type Change,
  encode,
  type Lease,
  type Put,
  type Revision,
  type Watch,
} from "@conclave/core/backend";
import { eventually } from "../../../test/harness/eventually.ts";
import { listenAnywhere } from "../../../test/harness/ports.ts";
import type { Redis } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { startProxy, type TcpProxy } from "../../../test/harness/tcp-proxy.ts";
import { type RedisOptions, redis } from "../src/index.ts";

export { codeOf, timed } from "../../../test/harness/outcome.ts";

/** The `redis-server` that these tests start, and break. */
export function binary(): string {
  const [server] = redisBinaries();
  if (server === undefined) throw new Error("there is no redis-server to test with");
  return server.binary;
}

export function put(key: string, value = "", lease?: Lease): Put {
  return { put: key, value: encode(value), lease };
}

export function connectTo(server: { readonly url: string }, options: Partial<RedisOptions> = {}): Promise<Backend> {
  return redis({ url: server.url, ...options }).connect();
}

/** A client whose every byte goes through a proxy. */
export interface Proxied extends AsyncDisposable {
  readonly backend: Backend;
  readonly proxy: TcpProxy;
}

export async function connectThrough(server: Redis, options: Partial<RedisOptions> = {}): Promise<Proxied> {
  const proxy = await startProxy(server.url);
  const backend = await connectTo(proxy, options);
  return {
    backend,
    proxy,
    async [Symbol.asyncDispose]() {
      await backend[Symbol.asyncDispose]();
      await proxy.stop();
    },
  };
}

/** A way to a server over which what it says takes its time: so many bytes in a millisecond, on each connection. */
export async function startSlowLine(
  port: number,
  bytesPerMs: number,
): Promise<{ readonly url: string } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const line = createServer((client) => {
    const server = createConnection({ host: "127.0.0.1", port });
    client.pipe(server);
    server.on("data", (chunk) => {
      client.write(chunk);
      server.pause();
      setTimeout(() => server.resume(), chunk.length / bytesPerMs);
    });
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => other.destroy());
    }
  });
  const own = await listenAnywhere(line);
  return {
    url: `redis://127.0.0.1:${own}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      line.close();
    },
  };
}

/** Reads a watch in the background and folds it: what the range holds, as far as its reader can know. */
export class Follower {
  readonly state: Map<string, Revision> = new Map();
  readonly changes: Change[] = [];
  gaps = 0;
  /** Revisions that came after a larger or an equal one. */
  disorder = 0;
  failure: unknown;
  /** The largest revision seen, in a batch, a change, or a list after a gap. */
  newest: Revision = 0n;
  readonly #backend: Backend;
  readonly #prefix: string;
  #last: Revision = 0n;
  #lists: Promise<void> = Promise.resolve();

  constructor(backend: Backend, prefix: string, watch: Watch) {
    this.#backend = backend;
    this.#prefix = prefix;
    void this.#read(watch);
  }

  static async of(backend: Backend, prefix: string): Promise<Follower> {
    return new Follower(backend, prefix, await backend.watches.watch({ prefix }));
  }

  /** Waits until what was folded is what another client lists. */
  async agreesWith(truth: Backend, timeoutMs = 10_000): Promise<void> {
    await eventually(
      async () => {
        const { entries } = await truth.kv.list(this.#prefix, { timeoutMs: 2_000 });
        await this.#lists;
        const theirs = entries.map(({ key, modified }) => `${key}@${modified}`);
        const ours = [...this.state].map(([key, modified]) => `${key}@${modified}`);
        if (theirs.sort().join() === ours.sort().join()) return true;
        throw new Error(`${theirs.length} entries there, ${ours.length} folded, ${this.gaps} gaps`);
      },
      { timeoutMs },
    );
  }

  async #read(watch: Watch): Promise<void> {
    try {
      for await (const batch of watch) {
        if ("gap" in batch) {
          this.gaps++;
          await this.#listAnew();
          continue;
        }
        if (batch.revision <= this.#last) this.disorder++;
        this.#last = batch.revision;
        for (const change of batch.changes) this.#fold(change);
      }
    } catch (error) {
      this.failure = error;
    }
  }

  async #listAnew(): Promise<void> {
    const { entries, revision } = await eventually(() => this.#backend.kv.list(this.#prefix), { timeoutMs: 20_000 });
    this.state.clear();
    for (const { key, modified } of entries) this.state.set(key, modified);
    this.#note(revision);
  }

  #fold(change: Change): void {
    this.changes.push(change);
    this.#note(change.modified);
    if (change.entry === undefined) this.state.delete(change.key);
    else if ((this.state.get(change.key) ?? 0n) < change.modified) this.state.set(change.key, change.modified);
  }

  #note(revision: Revision): void {
    if (revision > this.newest) this.newest = revision;
  }
}
