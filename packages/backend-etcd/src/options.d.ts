import { type Clock } from "@conclave/core/backend";
/** Whom to trust and who we are, each as PEM. */
export interface EtcdTls {
  /** The authorities that may vouch for the server; the system's when absent. */
  readonly ca?: Buffer | string | undefined;
  /** Our own certificate and its key, for servers that ask clients for one. */
  readonly cert?: Buffer | string | undefined;
  readonly key?: Buffer | string | undefined;
  /** The name to expect in the server's certificate, when it is not the endpoint's host. */
  readonly serverName?: string | undefined;
}
/** How to reach an etcd cluster. */
export interface EtcdOptions {
  /** One URL for each member, `http://host:port` or `https://host:port`; all of one scheme. */
  readonly endpoints: readonly string[];
  /** The etcd user; needs `password`. */
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** For `https` endpoints. */
  readonly tls?: EtcdTls | undefined;
  /** Deadline of a call that sets none, in milliseconds; 5,000 when absent. */
  readonly callTimeoutMs?: number | undefined;
  /** Deadline of `connect` when it sets none, in milliseconds; 5,000 when absent. */
  readonly connectTimeoutMs?: number | undefined;
  /** The time this client lives by; the system's when absent. */
  readonly clock?: Clock | undefined;
}
/** Options that passed every check, with their defaults filled in. */
export interface Settings {
  readonly endpoints: readonly string[];
  readonly user:
    | {
        readonly name: string;
        readonly password: string;
      }
    | undefined;
  readonly tls: SecureSettings | undefined;
  readonly callTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly clock: Clock;
}
export interface SecureSettings {
  readonly ca: Buffer | undefined;
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
  readonly serverName: string | undefined;
}
/** Checks what a caller gave to `etcd`; throws `TypeError` or `RangeError` naming the option. No secret is ever shown. */
export declare function settingsFrom(options: EtcdOptions): Settings;
/** What a version says of itself, as `[major, minor, patch]`. */
export declare function parseVersion(version: string): readonly [number, number, number];
//# sourceMappingURL=options.d.ts.map
