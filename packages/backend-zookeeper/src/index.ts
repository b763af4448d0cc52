export type { ZooKeeperOptions } from "./options.ts";
export { zookeeper } from "./zookeeper.ts";
