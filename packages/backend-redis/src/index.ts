export type { TlsOptions } from "@conclave/core/backend";
export type { RedisDurability, RedisNode, RedisOptions } from "./options.ts";
export { redis } from "./redis.ts";
