import { mkdirSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { eventually } from "./eventually.ts";
import { freePort } from "./ports.ts";
import { type Launch, type OwnServer, ServerProcess, startTogether, stopTogether } from "./server-process.ts";

export interface ZooKeeperOptions {
  /** The `java` to run, and what to run it on. */
  readonly java: string;
  readonly classPath: string;
  /** For clients; a free one unless told. Members of an ensemble take the ones after it. */
  readonly port?: number;
  /** The server's clock: sessions end on a tick, and servers tell each other of them once in two. 250 unless told. */
  readonly tickTimeMs?: number;
  /** The shortest and longest session that a client gets: two and 240 ticks unless told. */
  readonly minSessionMs?: number;
  readonly maxSessionMs?: number;
  /** False: answer before the log is on the disk, which no crash of a process alone can tell. True unless told. */
  readonly forceSync?: boolean;
  /** More lines of `zoo.cfg`. */
  readonly config?: Readonly<Record<string, string | number>>;
  /** More system properties, without the `-D`. */
  readonly properties?: Readonly<Record<string, string>>;
}

/** One ZooKeeper of our own. What it has acknowledged survives a kill. */
export interface ZooKeeper extends OwnServer {
  /** `host:port`, the one of this server alone. */
  readonly server: string;
  /** The same as a list, as the backend takes it. */
  readonly servers: readonly string[];
  /** What it answers to a four-letter word: `ask("srvr")`, `ask("mntr")`, `ask("cons")`, `ask("dump")`. */
  ask(word: string): Promise<string>;
  /** "standalone", "leader" or "follower"; rejects while it serves nobody. */
  mode(): Promise<string>;
}

/** Several that form an ensemble. */
export interface ZooKeeperEnsemble extends AsyncDisposable {
  readonly members: readonly ZooKeeper[];
  readonly servers: readonly string[];
  /** The member that leads now; waits while there is none. Paused and dead members are passed over. */
  leader(): Promise<ZooKeeper>;
  /** Those that follow now; waits while there is no leader. */
  followers(): Promise<readonly ZooKeeper[]>;
  stop(): Promise<void>;
}

/** Starts one ZooKeeper and waits until it serves. */
export async function startZooKeeper(options: ZooKeeperOptions): Promise<ZooKeeper> {
  const server = new Member(options, options.port ?? (await freePort()));
  await startTogether([server]);
  return server;
}

/** Starts `size` ZooKeepers, three unless told, that form an ensemble, and waits until each of them serves. */
export async function startEnsemble(
  options: ZooKeeperOptions & { readonly size?: number },
): Promise<ZooKeeperEnsemble> {
  const places: Place[] = [];
  for (let index = 0; index < (options.size ?? 3); index++) {
    const port = options.port === undefined ? await freePort() : options.port + index;
    places.push({ id: index + 1, port, peerPort: await freePort(), electionPort: await freePort() });
  }
  const members = places.map((place) => new Member(options, place.port, { me: place, all: places }));
  await startTogether(members);
  const look = async (mode: string) => {
    const modes = await Promise.all(members.map((member) => member.mode().catch(() => undefined)));
    return members.filter((_, index) => modes[index] === mode);
  };
  const wait = { timeoutMs: 30_000, everyMs: 50 };
  const leader = () => eventually(async () => (await look("leader"))[0] ?? false, wait);
  const stop = () => stopTogether(members);
  return {
    members,
    servers: members.map(({ server }) => server),
    leader,
    followers: async () => {
      await leader();
      return await look("follower");
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

interface Place {
  readonly id: number;
  readonly port: number;
  readonly peerPort: number;
  readonly electionPort: number;
}

class Member extends ServerProcess implements ZooKeeper {
  readonly port: number;
  readonly #options: ZooKeeperOptions;

  constructor(
    options: ZooKeeperOptions,
    port: number,
    ensemble?: { readonly me: Place; readonly all: readonly Place[] },
  ) {
    super("zookeeper");
    this.port = port;
    this.#options = options;
    const data = join(this.folder, "data");
    mkdirSync(data);
    if (ensemble) writeFileSync(join(data, "myid"), `${ensemble.me.id}\n`);
    writeFileSync(join(this.folder, "zoo.cfg"), configuration(options, port, data, ensemble?.all));
  }

  get server(): string {
    return `127.0.0.1:${this.port}`;
  }

  get servers(): readonly string[] {
    return [this.server];
  }

  protected launch(): Launch {
    const { java, classPath, properties = {}, forceSync = true } = this.#options;
    const all: Record<string, string> = {
      "org.slf4j.simpleLogger.defaultLogLevel": "warn",
      "zookeeper.forceSync": forceSync ? "yes" : "no",
      ...properties,
    };
    const args = [
      // Ready in less than half a second, for half of the processor's time: it will not live long.
      ...["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData"],
      ...Object.entries(all).map(([name, value]) => `-D${name}=${value}`),
      ...["-cp", classPath],
      ...["org.apache.zookeeper.server.quorum.QuorumPeerMain", join(this.folder, "zoo.cfg")],
    ];
    return { command: java, args };
  }

  protected async answers(): Promise<boolean> {
    await this.mode();
    return true;
  }

  async mode(): Promise<string> {
    const answer = await this.ask("srvr");
    const mode = /^Mode: (\S+)/m.exec(answer)?.[1];
    if (mode === undefined) throw new Error(`this zookeeper does not serve: ${answer.trim()}`);
    return mode;
  }

  ask(word: string): Promise<string> {
    return askZooKeeper(word, this.port);
  }
}

/** Sends a four-letter word and gives the answer. */
export function askZooKeeper(word: string, port: number, host = "127.0.0.1"): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ port, host });
    let answer = "";
    socket.setTimeout(2_000, () => socket.destroy(new Error(`${word} got no answer`)));
    socket.on("data", (chunk) => {
      answer += chunk;
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(answer));
    socket.write(word);
  });
}

function configuration(options: ZooKeeperOptions, port: number, data: string, all: readonly Place[] = []): string {
  const { tickTimeMs = 250 } = options;
  const settings = {
    tickTime: tickTimeMs,
    minSessionTimeout: options.minSessionMs ?? 2 * tickTimeMs,
    maxSessionTimeout: options.maxSessionMs ?? 240 * tickTimeMs,
    dataDir: data,
    clientPort: port,
    clientPortAddress: "127.0.0.1",
    maxClientCnxns: 0,
    "admin.enableServer": "false",
    "4lw.commands.whitelist": "*",
    // For members of an ensemble, in ticks: ten seconds to begin, three to keep up.
    initLimit: Math.ceil(10_000 / tickTimeMs),
    syncLimit: Math.ceil(3_000 / tickTimeMs),
    ...Object.fromEntries(all.map((of) => [`server.${of.id}`, `127.0.0.1:${of.peerPort}:${of.electionPort}`])),
    ...options.config,
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");
}
