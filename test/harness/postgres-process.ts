import { execFile } from "node:child_process";
import { chownSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { freePort } from "./ports.ts";
import { type Launch, type OwnServer, ServerProcess, startTogether } from "./server-process.ts";

export interface PostgresOptions {
  /** The folder of `initdb` and `postgres`. */
  readonly bin: string;
  /** More settings, as in `postgresql.conf`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** A free one unless told. */
  readonly port?: number;
}

/** One PostgreSQL of our own: user `postgres`, no password, on loopback alone. Pausing it is not for us: it is many processes. */
export interface Postgres extends Omit<OwnServer, "pause" | "resume"> {
  /** `postgres://postgres@127.0.0.1:…/postgres` */
  readonly url: string;
}

/** Makes a database, starts its server and waits until that lets clients in. */
export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const server = new Server(options, options.port ?? (await freePort()));
  try {
    await server.initialize();
  } catch (error) {
    await server.stop();
    throw error;
  }
  await startTogether([server]);
  return server;
}

/** Nobody, on every Linux: PostgreSQL refuses to run as root. */
const unprivileged = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

class Server extends ServerProcess implements Postgres {
  readonly port: number;
  readonly #options: PostgresOptions;

  constructor(options: PostgresOptions, port: number) {
    super("postgresql");
    this.port = port;
    this.#options = options;
    if (unprivileged.uid !== undefined) chownSync(this.folder, unprivileged.uid, unprivileged.gid);
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`;
  }

  get #data(): string {
    return join(this.folder, "data");
  }

  async initialize(): Promise<void> {
    const flags = ["--username", "postgres", "--auth", "trust", "--no-locale", "--encoding", "UTF8", "--no-sync"];
    const initdb = join(this.#options.bin, "initdb");
    await promisify(execFile)(initdb, [...flags, "-D", this.#data], { cwd: this.folder, ...unprivileged });
  }

  protected launch(): Launch {
    const settings: Record<string, string> = {
      listen_addresses: "127.0.0.1",
      unix_socket_directories: "",
      fsync: "off",
      ...this.#options.settings,
    };
    const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    return {
      command: join(this.#options.bin, "postgres"),
      args: ["-D", this.#data, "-p", `${this.port}`, ...args],
      ...unprivileged,
    };
  }

  /** A server that lets clients in asks for their password, or not, or greets them: anything but an error. */
  protected answers(): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ port: this.port, host: "127.0.0.1" });
      socket.setTimeout(2_000, () => socket.destroy(new Error("no answer")));
      socket.on("error", reject);
      socket.once("data", (chunk) => {
        socket.destroy();
        resolve(chunk.subarray(0, 1).toString() === "R");
      });
      socket.on("close", () => resolve(false));
      socket.write(greeting({ user: "postgres", database: "postgres" }));
    });
  }

  /** After a kill its other processes may still have its memory for a moment, and then it will not start. */
  override async restart(): Promise<void> {
    await this.kill();
    for (let tries = 1; ; tries++) {
      this.start();
      try {
        return await this.ready();
      } catch (error) {
        if (tries === 50 || this.isRunning || !/pre-existing shared memory/.test(String(error))) throw error;
      }
      await sleep(100);
    }
  }

  /** Its other processes notice that it is gone, and end by themselves: told to quit at once, it sees to that first. */
  override kill(signal: NodeJS.Signals = "SIGQUIT"): Promise<void> {
    return super.kill(signal);
  }
}

/** The protocol's first message, version 3.0. */
function greeting(parameters: Readonly<Record<string, string>>): Buffer {
  const text = Object.entries(parameters).map(([name, value]) => `${name}\0${value}\0`);
  const body = Buffer.from(`${text.join("")}\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(head.length + body.length, 0);
  head.writeInt32BE(3 << 16, 4);
  return Buffer.concat([head, body]);
}
