import { type ConnectorOptions, CoordinationError } from "@conclave/core/backend";
import type { Connection } from "./connection.ts";
import { type Reply, type Script, script } from "./link.ts";
import type { Settings } from "./options.ts";
import { changesKey, keysOf, store } from "./script.ts";

/** What the store's script calls, each with arguments that pass as a call and change nothing on a key that is not there. */
const harmless: Readonly<Record<string, readonly string[]>> = {
  TIME: [],
  HGET: ["KEY", "f"],
  HEXISTS: ["KEY", "f"],
  HMGET: ["KEY", "f"],
  HDEL: ["KEY", "f"],
  HSET: ["KEY", "f", "v", "a field without a value"],
  ZADD: ["KEY", "XX", "0", "m"],
  ZREM: ["KEY", "m"],
  ZSCORE: ["KEY", "m"],
  ZRANGE: ["KEY", "0", "0"],
  ZRANGEBYLEX: ["KEY", "-", "+"],
  ZREVRANGEBYLEX: ["KEY", "+", "-"],
  ZLEXCOUNT: ["KEY", "-", "+"],
  ZRANGEBYSCORE: ["KEY", "0", "0"],
  XADD: ["KEY", "NOMKSTREAM", "*", "f", "v"],
};

const probe: Script = script(`
for _, each in ipairs(cjson.decode(ARGV[1])) do
  for index, argument in ipairs(each) do
    if argument == 'KEY' then each[index] = KEYS[1] end
  end
  local reply = redis.pcall(unpack(each))
  local err = type(reply) == 'table' and reply.err
  if err and err:find('READONLY') then return reply end
  if err and (err:find("can't") or err:find('ACL') or err:find('NOPERM')) then return each[1] .. ': ' .. err end
end
return false
`);

/** Which commands a script calls. */
export function commandsOf({ source }: Script): readonly string[] {
  return [...new Set([...source.matchAll(/\bcall\('([A-Z]+)'/g)].map(([, name]) => name as string))];
}

/** The arguments by which a command is tried; undefined for one that nobody has thought of here. */
export function harmlessCall(command: string): readonly string[] | undefined {
  return harmless[command];
}

/**
 * Looks at the server before anybody relies on it. Rejects with `UNSUPPORTED` for one that is too old, of another kind or
 * may evict keys, `DENIED` for a user who lacks a command, and warns of what weakens a promise.
 */
export async function selfTest(connection: Connection, options: ConnectorOptions): Promise<void> {
  const { clock, connectTimeoutMs } = connection.route.settings;
  const { signal, onWarning, timeoutMs = connectTimeoutMs } = options;
  const deadlineMs = clock.monotonicMs() + timeoutMs;
  const call = () => ({ signal, timeoutMs: Math.max(1, deadlineMs - clock.monotonicMs()) });
  const info = parseInfo(await connection.ask("INFO", [], call()));
  refuseUnfit(info, connection.route.settings);
  await checkPermissions(connection, call);
  // Again: the first may have been of a node that only knew where the primary is.
  for (const warning of warningsAbout(parseInfo(await connection.ask("INFO", [], call())), connection.route.settings)) {
    onWarning?.(warning);
  }
}

/**
 * Tries each command once, on keys that do not exist. A script is stopped at the command its user lacks, with all done that
 * comes before; better here than there.
 */
async function checkPermissions(connection: Connection, call: () => ConnectorOptions): Promise<void> {
  const { space, wait } = connection.route.settings;
  const calls = commandsOf(store).map((command) => [command, ...(harmlessCall(command) ?? ["KEY"])]);
  const args = [JSON.stringify(calls)];
  const keys = [`{${space}}:probe`];
  const denied = await connection.run({ name: "connect", effect: "read", script: probe, keys, args }, call());
  if (denied !== null) {
    throw new CoordinationError("DENIED", `the user may not run all that is needed on keys of {${space}}: ${denied}`);
  }
  await connection.ask("XREAD", ["COUNT", "1", "STREAMS", keysOf(space)[changesKey] as string, "$"], call());
  if (wait !== undefined) await connection.ask("WAIT", ["0", "1"], call());
}

type Info = ReadonlyMap<string, string>;

function parseInfo(reply: Reply): Info {
  return new Map(
    [...String(reply).matchAll(/^([a-z_]+):(.*?)\r?$/gm)].map(([, name, value]) => [name, value] as [string, string]),
  );
}

function refuseUnfit(info: Info, settings: Settings): void {
  const refuse = (why: string): never => {
    throw new CoordinationError("UNSUPPORTED", why);
  };
  const version = info.get("redis_version") ?? "";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < 6 || (major === 6 && minor < 2)) refuse(`Redis ${version} is too old; 6.2 is the oldest that works`);
  const mode = info.get("redis_mode");
  if (mode === "sentinel") refuse("this is a Sentinel: give it as sentinels, with the name of the primary");
  if (mode === "cluster" && settings.topology.kind !== "cluster")
    refuse("this Redis is of a cluster: give it as nodes");
  const policy = info.get("maxmemory_policy") ?? "";
  if (policy.startsWith("allkeys-")) {
    refuse(`Redis may evict any key (maxmemory-policy ${policy}), and so locks; noeviction is the policy for it`);
  }
}

/** What an operator should know, if anything. */
function warningsAbout(info: Info, { wait }: Settings): readonly string[] {
  const warnings: string[] = [];
  if (info.get("aof_enabled") === "0") {
    warnings.push(
      "Redis keeps no append-only file: when it restarts, what it acknowledged is gone; set appendonly yes, and appendfsync always to lose nothing",
    );
  }
  const replicas = Number(info.get("connected_slaves") ?? 0);
  if (replicas > 0 && wait === undefined) {
    warnings.push(
      `Redis has ${replicas} replica${replicas > 1 ? "s" : ""} that it does not wait for: a failover may lose what it acknowledged; durability.wait makes that less likely`,
    );
  }
  if (wait !== undefined && replicas < wait.replicas) {
    warnings.push(
      `durability.wait asks for ${wait.replicas} replicas and Redis has ${replicas}: until it has more, every write ends as OUTCOME_UNKNOWN`,
    );
  }
  return warnings;
}
