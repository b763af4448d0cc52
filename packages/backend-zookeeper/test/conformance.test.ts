import { describeBackend } from "@conclave/conformance";
import { zookeeperServers } from "../../../test/harness/servers.ts";
import { costs, makeSubject } from "./conformance-subject.ts";

for (const server of zookeeperServers())
  describeBackend(server.name, async () => makeSubject(await server.open()), { costs });
