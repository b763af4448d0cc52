import { describeBackend, oneRoundTripEach } from "@conclave/conformance";
import { etcdServers } from "../../../test/harness/servers.ts";
import { makeSubject } from "./conformance-subject.ts";

for (const server of etcdServers().slice(1)) {
  describeBackend(server.name, async () => makeSubject(server), { costs: oneRoundTripEach });
}
