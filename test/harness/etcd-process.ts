import { execFile } from "node:child_process";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { Certificates } from "./certificates.ts";
import { eventually } from "./eventually.ts";
import { freePort } from "./ports.ts";
import { type Launch, type OwnServer, ServerProcess, startTogether, stopTogether } from "./server-process.ts";

export interface EtcdOptions {
  /** The `etcd` to run; `etcdctl` is expected beside it. */
  readonly binary: string;
  /** More flags, as on the command line. */
  readonly flags?: readonly string[];
  /** For clients; a free one unless told. Members of a cluster take the ones after it. */
  readonly port?: number;
  /** Serve TLS; with `clientCertificates` a client must present one, and its common name is its etcd user. */
  readonly tls?: Certificates & { readonly clientCertificates?: boolean };
}

/** One etcd of our own. */
export interface Etcd extends OwnServer {
  readonly endpoint: string;
  /** Calls etcd's JSON gateway, e.g. `call("/v3/maintenance/status")`. */
  call(path: string, body?: object, token?: string): Promise<Record<string, unknown>>;
  /** Runs `etcdctl` against it and gives what it printed. */
  etcdctl(...args: string[]): Promise<string>;
}

/** A cluster of our own. */
export interface EtcdCluster extends AsyncDisposable {
  readonly members: readonly Etcd[];
  readonly endpoints: readonly string[];
  /** The member that leads now; waits while there is none. Paused and dead members are passed over. */
  leader(): Promise<Etcd>;
  stop(): Promise<void>;
}

/** Starts one etcd and waits until it is healthy. */
export async function startEtcd(options: EtcdOptions): Promise<Etcd> {
  const [member] = (await startCluster({ ...options, size: 1 })).members;
  return member as Etcd;
}

/** Starts `size` etcds that form one cluster and waits until every one of them is healthy. */
export async function startCluster(options: EtcdOptions & { readonly size?: number }): Promise<EtcdCluster> {
  const places: Place[] = [];
  for (let index = 0; index < (options.size ?? 3); index++) {
    const port = options.port === undefined ? await freePort() : options.port + index;
    places.push({ name: `m${index}`, port, peerPort: await freePort() });
  }
  const members = places.map((place) => new Member(place, places, options));
  await startTogether(members);
  const stop = () => stopTogether(members);
  return {
    members,
    endpoints: members.map((member) => member.endpoint),
    leader: () => eventually(async () => (await leaderOf(members)) ?? false, { timeoutMs: 15_000, everyMs: 50 }),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Makes the user `root` and turns authentication on. */
export async function enableAuth(etcd: Etcd, { password }: { password: string }): Promise<void> {
  await etcd.call("/v3/auth/user/add", { name: "root", password });
  await etcd.call("/v3/auth/role/add", { name: "root" });
  await etcd.call("/v3/auth/user/grant", { user: "root", role: "root" });
  await etcd.call("/v3/auth/enable", {});
}

interface Place {
  readonly name: string;
  readonly port: number;
  readonly peerPort: number;
}

class Member extends ServerProcess implements Etcd {
  readonly endpoint: string;
  readonly port: number;
  readonly #options: EtcdOptions;
  readonly #args: readonly string[];

  constructor(place: Place, cluster: readonly Place[], options: EtcdOptions) {
    super("etcd");
    const peerUrl = (of: Place) => `http://127.0.0.1:${of.peerPort}`;
    this.#options = options;
    this.port = place.port;
    this.endpoint = `${options.tls ? "https" : "http"}://127.0.0.1:${place.port}`;
    this.#args = [
      ...["--name", place.name, "--data-dir", join(this.folder, "data")],
      ...["--listen-client-urls", this.endpoint, "--advertise-client-urls", this.endpoint],
      ...["--listen-peer-urls", peerUrl(place), "--initial-advertise-peer-urls", peerUrl(place)],
      ...["--initial-cluster", cluster.map((of) => `${of.name}=${peerUrl(of)}`).join(",")],
      ...["--logger", "zap", "--log-level", "error"],
      ...tlsFlags(options.tls),
      ...(options.flags ?? []),
    ];
  }

  protected launch(): Launch {
    return { command: this.#options.binary, args: this.#args };
  }

  protected async answers(): Promise<boolean> {
    return (await this.#request("GET", "/health")).includes("true");
  }

  async call(path: string, body: object = {}, token?: string): Promise<Record<string, unknown>> {
    return JSON.parse(await this.#request("POST", path, JSON.stringify(body), token));
  }

  async etcdctl(...args: string[]): Promise<string> {
    const { tls, binary } = this.#options;
    const trust = tls
      ? ["--cacert", tls.caFile, "--cert", tls.client.certFile, "--key", tls.client.keyFile]
      : ([] as string[]);
    const all = ["--endpoints", this.endpoint, ...trust, ...args];
    const env = { ...process.env, ETCDCTL_API: "3" };
    const { stdout } = await promisify(execFile)(join(dirname(binary), "etcdctl"), all, { env });
    return stdout;
  }

  #request(method: string, path: string, body?: string, token?: string): Promise<string> {
    const { tls } = this.#options;
    const secrets = tls && { ca: tls.ca, cert: tls.client.cert, key: tls.client.key };
    return new Promise((resolve, reject) => {
      const options = {
        method,
        agent: false,
        timeout: 2_000,
        headers: token ? { authorization: token } : {},
        ...secrets,
      };
      const request = (tls ? httpsRequest : httpRequest)(`${this.endpoint}${path}`, options, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          if (response.statusCode === 200) resolve(text);
          else reject(new Error(`${path} gave ${response.statusCode}: ${text}`));
        });
      });
      request.on("timeout", () => request.destroy(new Error(`${path} did not answer`)));
      request.on("error", reject);
      request.end(body);
    });
  }
}

function tlsFlags(tls: EtcdOptions["tls"]): string[] {
  if (tls === undefined) return [];
  const flags = ["--cert-file", tls.server.certFile, "--key-file", tls.server.keyFile];
  // Given an authority for its clients, etcd asks them for certificates.
  return tls.clientCertificates ? [...flags, "--trusted-ca-file", tls.caFile, "--client-cert-auth"] : flags;
}

/** The member that says of itself, in the highest term, that it leads. */
async function leaderOf(members: readonly Etcd[]): Promise<Etcd | undefined> {
  let found: { member: Etcd; term: number } | undefined;
  await Promise.all(
    members.map(async (member) => {
      const status = await member.call("/v3/maintenance/status").catch(() => undefined);
      const header = status?.["header"] as { member_id?: string } | undefined;
      const term = Number(status?.["raftTerm"]);
      if (header?.member_id === undefined || header.member_id !== status?.["leader"]) return;
      if (found === undefined || term > found.term) found = { member, term };
    }),
  );
  return found?.member;
}
