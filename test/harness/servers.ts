import { inject } from "vitest";

/** A real etcd that the test run started, or was given. */
export interface EtcdServer {
  /** For test names: "etcd 3.5.30". */
  readonly name: string;
  readonly version: string;
  readonly endpoint: string;
  /** Of the servers that were started here; undefined for one that was given by its endpoint. */
  readonly binary: string | undefined;
  readonly etcdctl: string | undefined;
}

declare module "vitest" {
  interface ProvidedContext {
    etcdServers: readonly EtcdServer[];
  }
}

/** Every etcd to test on, for `describe.each(etcdServers())("$name", …)`. They are shared: use a prefix of your own. */
export function etcdServers(): readonly EtcdServer[] {
  return inject("etcdServers");
}

/** Those with a binary, for tests that start (and stop, and break) an etcd of their own. */
export function etcdBinaries(): readonly (EtcdServer & { binary: string; etcdctl: string })[] {
  return etcdServers().filter((server) => server.binary !== undefined) as never;
}
