/** What a URL of one scheme may say. */
export interface Scheme {
  /** The adapter's package, without `@conclave/backend-`. */
  readonly store: "memory" | "etcd" | "redis" | "zookeeper";
  /** How such a URL looks, for messages. */
  readonly form: string;
  /** Where its servers listen when the URL does not say; undefined of a store without servers. */
  readonly port: number | undefined;
  /** Whether one server or a list of them. */
  readonly several: boolean;
  readonly secure: boolean;
  /** Who may be named before an "@": nobody, a user with a password, or also a password alone. */
  readonly credentials: "none" | "both" | "password";
  /** What comes behind the servers, decoded, and what it is called in messages. */
  readonly path: { readonly fits: RegExp; readonly allowed: string };
  readonly parameters: readonly Parameter[];
}

/** What may stand behind the "?". */
export type Parameter = "callTimeoutMs" | "connectTimeoutMs" | "space";

const timeouts: readonly Parameter[] = ["callTimeoutMs", "connectTimeoutMs"];
const nothing = { fits: /^\/?$/, allowed: "nothing behind the servers" };
const database = { fits: /^\/?$|^\/\d{1,5}$/, allowed: "the number of a database, as /0, or nothing" };
const primary = { fits: /^\/[^/]+$/, allowed: "the primary's name among the sentinels, as /mymaster" };
/** Of what ZooKeeper takes: no control, private or astral characters, no dots alone, and nothing of its own. */
const root = {
  fits: /^\/?$|^(?!\/zookeeper(?:\/|$))(?:\/(?!\.{1,2}(?:\/|$))[^/\p{Cc}\p{Co}\ufff0-\u{10ffff}]+)+$/u,
  allowed: "the path of a znode, as /conclave, or nothing",
};
const name = { fits: /^[^/]*$/, allowed: "a name without slashes, or nothing" };

const etcd = {
  store: "etcd",
  port: 2379,
  several: true,
  credentials: "both",
  path: nothing,
  parameters: timeouts,
} as const;
const redis = { store: "redis", credentials: "password", parameters: [...timeouts, "space"] } as const;
const cluster = { ...redis, port: 6379, several: true, path: nothing } as const;
const sentinel = { ...redis, port: 26379, several: true, path: primary } as const;
const single = { ...redis, port: 6379, several: false, path: database } as const;

/** Every scheme there is. */
export const schemes: Readonly<Record<string, Scheme>> = {
  memory: {
    store: "memory",
    form: "memory:[name]",
    port: undefined,
    several: false,
    secure: false,
    credentials: "none",
    path: name,
    parameters: [],
  },
  etcd: { ...etcd, form: "etcd://[user:password@]host[:port][,host…]", secure: false },
  etcds: { ...etcd, form: "etcds://[user:password@]host[:port][,host…]", secure: true },
  redis: { ...single, form: "redis://[[user]:password@]host[:port][/database]", secure: false },
  rediss: { ...single, form: "rediss://[[user]:password@]host[:port][/database]", secure: true },
  "redis+cluster": { ...cluster, form: "redis+cluster://[[user]:password@]host[:port][,host…]", secure: false },
  "rediss+cluster": { ...cluster, form: "rediss+cluster://[[user]:password@]host[:port][,host…]", secure: true },
  "redis+sentinel": { ...sentinel, form: "redis+sentinel://[[user]:password@]host[:port][,host…]/name", secure: false },
  "rediss+sentinel": {
    ...sentinel,
    form: "rediss+sentinel://[[user]:password@]host[:port][,host…]/name",
    secure: true,
  },
  zookeeper: {
    store: "zookeeper",
    form: "zookeeper://[user:password@]host[:port][,host…][/root]",
    port: 2181,
    several: true,
    secure: false,
    credentials: "both",
    path: root,
    parameters: timeouts,
  },
};
