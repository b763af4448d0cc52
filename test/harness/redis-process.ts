import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Certificates } from "./certificates.ts";
import { eventually } from "./eventually.ts";
import { freePort } from "./ports.ts";
import { callRedis, type Reply } from "./resp.ts";
import { type Launch, type OwnServer, ServerProcess, startTogether, stopTogether } from "./server-process.ts";

export interface RedisOptions {
  /** The `redis-server` to run. */
  readonly binary: string;
  /** More flags, as on the command line. */
  readonly flags?: readonly string[];
  /** A free one unless told. */
  readonly port?: number;
  /** Keep an append-only file and sync it so often; nothing is kept over a kill unless told. */
  readonly appendOnly?: "always" | "everysec";
  /** Follow this primary from the start. */
  readonly replicaOf?: Redis;
  /** Serve TLS and nothing else; with `clientCertificates` a client must present one. */
  readonly tls?: Certificates & { readonly clientCertificates?: boolean };
  /** Users, as in an ACL file: `user app on >secret ~{app}* +@all`. */
  readonly acl?: readonly string[];
  /** What `call` authenticates with. */
  readonly username?: string;
  readonly password?: string;
  /** The libfaketime to load, so that `stepClock` works. */
  readonly faketime?: string | undefined;
}

/** One Redis of our own. Its data goes with the process, unless it was told to append. */
export interface Redis extends OwnServer {
  /** `redis://127.0.0.1:…`, or `rediss:` with TLS. No secrets in it. */
  readonly url: string;
  /** Runs a command on a connection of its own, e.g. `call("SET", "key", "value")`; rejects with what Redis complains of. */
  call(...command: string[]): Promise<Reply>;
  /** `INFO`, as one record. */
  info(section?: string): Promise<Readonly<Record<string, string>>>;
  /** Has it follow another one, and waits until it has that one's data. */
  follow(primary: Redis): Promise<void>;
  /** Has it follow nobody: what a failover makes of a replica. */
  promote(): Promise<void>;
  /** Moves its wall clock, and nothing else of it, by so much more, forward or (negative) back. Needs `faketime`. */
  stepClock(ms: number): void;
}

/** A cluster of our own: primaries alone, which share the slots evenly. */
export interface RedisCluster extends AsyncDisposable {
  readonly members: readonly Redis[];
  /** `host:port` of each. */
  readonly nodes: readonly string[];
  /** Gives a slot to another member, with the keys that it holds. */
  moveSlot(slot: number, to: Redis): Promise<void>;
  stop(): Promise<void>;
}

const slots = 16_384;

/** Starts one Redis and waits until it answers, and has its primary's data if it follows one. */
export async function startRedis(options: RedisOptions): Promise<Redis> {
  const redis = new Server({ ...options, port: options.port ?? (await freePort()) });
  await startTogether([redis]);
  return redis;
}

/** Starts primaries that form a cluster, two unless told, and waits until each of them says that it is whole. */
export async function startRedisCluster(options: RedisOptions & { readonly nodes?: number }): Promise<RedisCluster> {
  const members: Server[] = [];
  const count = options.nodes ?? 2;
  for (let index = 0; index < count; index++) {
    const port = options.port === undefined ? await freePort() : options.port + index;
    const flags = [...(options.flags ?? []), "--cluster-enabled", "yes", "--cluster-port", `${await freePort()}`];
    members.push(new Server({ ...options, port, flags: [...flags, "--cluster-node-timeout", "2000"] }));
  }
  const cluster = new Cluster(members);
  await startTogether(members);
  try {
    await cluster.form();
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return cluster;
}

/** Starts a sentinel that watches `primary` under the name `name`, and fails over as soon as it alone finds it down. */
export async function startSentinel(options: {
  readonly binary: string;
  readonly primary: Redis;
  readonly name?: string;
  readonly downAfterMs?: number;
}): Promise<Redis> {
  const { binary, primary, name = "main", downAfterMs = 1_000 } = options;
  const sentinel = new Sentinel({ binary, port: await freePort() }, [
    `sentinel monitor ${name} 127.0.0.1 ${primary.port} 1`,
    `sentinel down-after-milliseconds ${name} ${downAfterMs}`,
    `sentinel failover-timeout ${name} 5000`,
  ]);
  await startTogether([sentinel]);
  return sentinel;
}

class Server extends ServerProcess implements Redis {
  readonly port: number;
  readonly options: RedisOptions;
  #offsetMs = 0;

  constructor(options: RedisOptions & { readonly port: number }) {
    super("redis");
    this.options = options;
    this.port = options.port;
    if (options.acl) writeFileSync(join(this.folder, "users.acl"), `${options.acl.join("\n")}\n`);
    if (options.faketime) this.#writeClock();
  }

  get url(): string {
    return `${this.options.tls ? "rediss" : "redis"}://127.0.0.1:${this.port}`;
  }

  protected launch(): Launch {
    const { binary, faketime } = this.options;
    return { command: binary, args: this.flags(), env: faketime ? clockEnvironment(faketime, this.#clockFile) : {} };
  }

  protected flags(): string[] {
    const { tls, acl, appendOnly, replicaOf, flags = [] } = this.options;
    const port = `${this.port}`;
    return [
      ...["--bind", "127.0.0.1", "--dir", this.folder, "--save", "", "--enable-debug-command", "local"],
      ...(tls ? ["--port", "0", "--tls-port", port, ...tlsFlags(tls)] : ["--port", port]),
      ...(appendOnly ? ["--appendonly", "yes", "--appendfsync", appendOnly] : ["--appendonly", "no"]),
      ...(replicaOf ? ["--replicaof", "127.0.0.1", `${replicaOf.port}`] : []),
      // A replica's first copy: at once, and not after waiting five seconds for others that want one too.
      ...["--repl-diskless-sync-delay", "0"],
      ...(acl ? ["--aclfile", join(this.folder, "users.acl")] : []),
      ...flags,
    ];
  }

  protected async answers(): Promise<boolean> {
    const { loading, role, master_link_status: link } = await this.info();
    return loading === "0" && (role === "master" || this.options.replicaOf === undefined || link === "up");
  }

  override async kill(signal?: NodeJS.Signals): Promise<void> {
    if (!this.isRunning) return;
    const { pid } = this;
    await super.kill(signal);
    // What libfaketime leaves behind of a process that had no time to tidy up.
    for (const name of this.options.faketime ? ["faketime_shm_", "sem.faketime_sem_"] : []) {
      rmSync(`/dev/shm/${name}${pid}`, { force: true });
    }
  }

  call(...command: string[]): Promise<Reply> {
    const { tls, username, password } = this.options;
    return callRedis({ port: this.port, tls, username, password }, command);
  }

  async info(section = "default"): Promise<Readonly<Record<string, string>>> {
    const text = String(await this.call("INFO", section));
    return Object.fromEntries([...text.matchAll(/^([^#:\r\n]+):(.*?)\r?$/gm)].map(([, name, value]) => [name, value]));
  }

  async follow(primary: Redis): Promise<void> {
    await this.call("REPLICAOF", "127.0.0.1", `${primary.port}`);
    await eventually(async () => (await this.info("replication"))["master_link_status"] === "up", {
      timeoutMs: 15_000,
    });
  }

  async promote(): Promise<void> {
    await this.call("REPLICAOF", "NO", "ONE");
  }

  stepClock(ms: number): void {
    if (this.options.faketime === undefined) throw new Error("this redis was started without faketime");
    this.#offsetMs += ms;
    this.#writeClock();
  }

  get #clockFile(): string {
    return join(this.folder, "clock");
  }

  #writeClock(): void {
    const sign = this.#offsetMs < 0 ? "-" : "+";
    writeFileSync(`${this.#clockFile}.new`, `${sign}${Math.abs(this.#offsetMs) / 1_000}\n`);
    renameSync(`${this.#clockFile}.new`, this.#clockFile);
  }
}

/** It keeps what it learns in its configuration, so that has to be a file. */
class Sentinel extends Server {
  constructor(options: RedisOptions & { readonly port: number }, configuration: readonly string[]) {
    super(options);
    const lines = [`port ${this.port}`, "bind 127.0.0.1", `dir ${this.folder}`, ...configuration];
    writeFileSync(join(this.folder, "sentinel.conf"), `${lines.join("\n")}\n`);
  }

  protected override flags(): string[] {
    return [join(this.folder, "sentinel.conf"), "--sentinel"];
  }

  protected override async answers(): Promise<boolean> {
    return (await this.call("PING")) === "PONG";
  }
}

class Cluster implements RedisCluster {
  readonly members: readonly Redis[];
  readonly #servers: readonly Server[];

  constructor(servers: readonly Server[]) {
    this.#servers = servers;
    this.members = servers;
  }

  get nodes(): readonly string[] {
    return this.members.map(({ port }) => `127.0.0.1:${port}`);
  }

  /** Shares out the slots, introduces the members to each other, and waits until all know all. */
  async form(): Promise<void> {
    const count = this.#servers.length;
    for (const [index, server] of this.#servers.entries()) {
      const [first, end] = [index, index + 1].map((part) => Math.floor((slots * part) / count)) as [number, number];
      await server.call("CLUSTER", "ADDSLOTSRANGE", `${first}`, `${end - 1}`);
      // Members take no part in each other's epochs unless these differ.
      await server.call("CLUSTER", "SET-CONFIG-EPOCH", `${index + 1}`);
    }
    for (const server of this.#servers.slice(1)) {
      await this.#servers[0]?.call("CLUSTER", "MEET", "127.0.0.1", `${server.port}`, await busPort(server));
    }
    const whole = async () => {
      const states = await Promise.all(this.#servers.map((server) => clusterInfo(server)));
      return states.every((info) => info["cluster_state"] === "ok" && info["cluster_known_nodes"] === `${count}`);
    };
    await eventually(whole, { timeoutMs: 30_000 });
  }

  async moveSlot(slot: number, to: Redis): Promise<void> {
    const ids = new Map<Redis, string>();
    for (const member of this.members) ids.set(member, String(await member.call("CLUSTER", "MYID")));
    const from = await ownerOf(slot, this.members);
    if (from === to) return;
    await to.call("CLUSTER", "SETSLOT", `${slot}`, "IMPORTING", String(ids.get(from)));
    await from.call("CLUSTER", "SETSLOT", `${slot}`, "MIGRATING", String(ids.get(to)));
    for (;;) {
      const keys = (await from.call("CLUSTER", "GETKEYSINSLOT", `${slot}`, "100")) as string[];
      if (keys.length === 0) break;
      await from.call("MIGRATE", "127.0.0.1", `${to.port}`, "", "0", "5000", "KEYS", ...keys);
    }
    for (const member of [to, from]) await member.call("CLUSTER", "SETSLOT", `${slot}`, "NODE", String(ids.get(to)));
  }

  stop(): Promise<void> {
    return stopTogether(this.#servers);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

async function clusterInfo(redis: Redis): Promise<Readonly<Record<string, string>>> {
  const text = String(await redis.call("CLUSTER", "INFO"));
  return Object.fromEntries(text.split("\r\n").map((line) => line.split(":") as [string, string]));
}

async function busPort(redis: Redis): Promise<string> {
  const [, port] = (await redis.call("CONFIG", "GET", "cluster-port")) as [string, string];
  return port;
}

/** The member that says of itself that the slot is its own. */
async function ownerOf(slot: number, members: readonly Redis[]): Promise<Redis> {
  for (const member of members) {
    const own = String(await member.call("CLUSTER", "NODES"))
      .split("\n")
      .find((line) => line.includes("myself"));
    const ranges = (own ?? "").split(" ").slice(8);
    const owns = ranges.some((range) => {
      const [first = Number.NaN, last = first] = range.split("-").map(Number);
      return first <= slot && slot <= last;
    });
    if (owns) return member;
  }
  throw new Error(`nobody owns slot ${slot}`);
}

function tlsFlags({ server, caFile, clientCertificates }: NonNullable<RedisOptions["tls"]>): string[] {
  const files = ["--tls-cert-file", server.certFile, "--tls-key-file", server.keyFile, "--tls-ca-cert-file", caFile];
  return [...files, "--tls-auth-clients", clientCertificates ? "yes" : "no"];
}

/**
 * Its wall clock is what the file says, read at every look; timers and waits go by the true one. The C library stands
 * beside libfaketime, since jemalloc asks for the time while libfaketime asks it for memory, and neither would start.
 */
function clockEnvironment(library: string, file: string): Record<string, string> {
  return {
    LD_PRELOAD: `${library} libc.so.6`,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
    FAKETIME_DISABLE_SHM: "1",
  };
}
