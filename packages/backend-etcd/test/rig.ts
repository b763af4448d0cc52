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
import { codeOf, timed } from "../../../test/harness/outcome.ts";
import { startProxy, type TcpProxy } from "../../../test/harness/tcp-proxy.ts";
import { type EtcdOptions, etcd } from "../src/index.ts";

export { codeOf, timed };

let prefixes = 0;

/** A corner of a shared store that no other test uses. */
export function corner(): string {
  return `etcd-test/${process.pid}-${Date.now()}-${++prefixes}/`;
}

export function put(key: string, value = "", lease?: Lease): Put {
  return { put: key, value: encode(value), lease };
}

export function connectTo(endpoint: string, options: Partial<EtcdOptions> = {}): Promise<Backend> {
  return etcd({ endpoints: [endpoint], ...options }).connect();
}

/** A client whose every byte goes through a proxy. */
export interface Proxied extends AsyncDisposable {
  readonly backend: Backend;
  readonly proxy: TcpProxy;
}

export async function connectThrough(endpoint: string, options: Partial<EtcdOptions> = {}): Promise<Proxied> {
  const proxy = await startProxy(endpoint);
  const backend = await connectTo(proxy.url, options);
  return {
    backend,
    proxy,
    async [Symbol.asyncDispose]() {
      await backend[Symbol.asyncDispose]();
      await proxy.stop();
    },
  };
}

/** Makes the server unreachable, and waits until the client has noticed: what it sends from then on is surely unsent. */
export async function takeOffline({ backend, proxy }: Proxied): Promise<void> {
  await proxy.refuse();
  await eventually(async () => (await codeOf(backend.kv.get("any", { timeoutMs: 50 }))) === "UNAVAILABLE");
}

/** Reads a watch in the background and keeps what it gave. */
export class Reading {
  readonly batches: { readonly revision: Revision; readonly changes: readonly Change[] }[] = [];
  gaps = 0;
  /** "gap", or the keys of a batch, in the order in which they came. */
  readonly log: string[] = [];
  failure: unknown;
  ended = false;
  readonly done: Promise<void>;

  constructor(watch: Watch) {
    this.done = this.#read(watch);
  }

  get changes(): readonly Change[] {
    return this.batches.flatMap(({ changes }) => changes);
  }

  get keys(): readonly string[] {
    return this.changes.map(({ key }) => key);
  }

  /** Waits until a key was seen. */
  async saw(key: string, timeoutMs = 5_000): Promise<void> {
    await eventually(() => this.keys.includes(key) || Promise.reject(new Error(`saw ${this.log.length} batches`)), {
      timeoutMs,
    });
  }

  async #read(watch: Watch): Promise<void> {
    try {
      for await (const batch of watch) {
        if ("gap" in batch) {
          this.gaps++;
          this.log.push("gap");
        } else {
          this.batches.push(batch);
          this.log.push(batch.changes.map(({ key }) => key).join(","));
        }
      }
    } catch (error) {
      this.failure = error;
    }
    this.ended = true;
  }
}

/** Writes `count` keys, each in a revision of its own, and gives them in the order of their revisions. */
export async function writeMany(
  backend: Backend,
  prefix: string,
  count: number,
  value = "",
): Promise<readonly string[]> {
  const written: { key: string; revision: Revision }[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: 40 }, async () => {
      while (next < count) {
        const key = `${prefix}${next++}`;
        const { revision } = await backend.kv.commit({ then: [put(key, value)] });
        written.push({ key, revision });
      }
    }),
  );
  return written.sort((one, other) => Number(one.revision - other.revision)).map(({ key }) => key);
}
