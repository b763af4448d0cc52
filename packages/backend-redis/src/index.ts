export type { RedisDurability, RedisNode, RedisOptions, RedisTls } from "./options.ts";
export { redis } from "./redis.ts";
